"""Print the licence texts of the Rust crates that the extension links, for `rust/CRATE-LICENSES`.

    python .ci/crate_licences.py > rust/CRATE-LICENSES     # after a change of dependencies; .ci/run compares the two

Crates of macros and build scripts run at build time only and are left out.
"""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PLATFORMS = [f"{machine}-{rest}" for machine in ("x86_64", "aarch64") for rest in ("unknown-linux-gnu", "apple-darwin")]
COMMAND = ["cargo", "metadata", "--format-version=1", "--locked", *(f"--filter-platform={one}" for one in PLATFORMS)]


def linked(metadata: dict) -> list[dict]:
    """Packages whose code is in the extension, ours excluded."""
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node["deps"] for node in metadata["resolve"]["nodes"]}
    waiting = [key for key, package in packages.items() if package["name"] == "reconciler-bindings"]
    found = set(waiting)
    while waiting:
        for dependency in nodes[waiting.pop()]:
            key = dependency["pkg"]
            normal = any(kind["kind"] is None for kind in dependency["dep_kinds"])
            macro = any("proc-macro" in target["kind"] for target in packages[key]["targets"])
            if normal and not macro and key not in found:
                found.add(key)
                waiting.append(key)
    return sorted((packages[key] for key in found if packages[key]["source"]), key=lambda package: package["name"])


def main() -> None:
    answer = subprocess.run(COMMAND, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    crates = linked(json.loads(answer.stdout))
    parts = ["Rust crates that reconciler_engine's extension links, each with its licence.\n"]
    for crate in crates:
        folder = Path(crate["manifest_path"]).parent
        texts = sorted(folder.glob("LICENSE-MIT*")) or sorted(folder.glob("LICENSE*"))
        if not texts:
            sys.exit(f"{crate['name']} {crate['version']}: no licence file beside its manifest")
        lines = [line.rstrip() for line in texts[0].read_text("utf-8").strip().splitlines()]
        parts.append("\n".join([f"== {crate['name']} ({crate['license']}) ==", "", *lines, ""]))
    print("\n".join(parts), end="")  # noqa: T201  # its product


if __name__ == "__main__":
    main()
