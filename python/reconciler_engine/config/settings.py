"""The engine's settings: an immutable model. A check reports all faults together."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Literal, Self
from urllib.parse import urlencode, urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from reconciler_engine.coinbase.route import Proxy, Route
from reconciler_engine.coinbase.symbol_selectors import Selector
from reconciler_engine.config import field_types as kinds
from reconciler_engine.config.definitions import SETTINGS, SIGNED_HOURLY_LIMIT, VERIFY_TIME_MS, renamed
from reconciler_engine.config.faults import field_faults, origin_of, unknown_faults
from reconciler_engine.errors import ConfigError
from reconciler_engine.limiting.budget import Budget
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.observe.web.listen import ListenAddress, exposure_faults
from reconciler_engine.planning.audit import AuditRules
from reconciler_engine.planning.verification import VerifyRules
from reconciler_engine.planning.window import MINIMUM_STEPS, retention_fault

WINDOWS = ("quick_scan_window_ms", "full_reconcile_window_ms")
"""Fields that set how far back a pass looks."""

_LONGEST_MS = 10**13


def _field(name: str, **bounds: Any) -> Any:
    """Return the model field of a setting, made from its definition."""
    setting = SETTINGS[name]
    return Field(default=setting.default, description=setting.allowed, repr=not setting.hidden, **bounds)


class ReconciliationConfig(BaseModel):
    """All settings with their defaults. Their meanings and allowed values are in `config/definitions.py`.

    Use `ReconciliationConfig.check` to make one: it reports all faults together in a `ConfigError`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, validate_default=False)

    redis_url: kinds.RedisUrl | None = _field("redis_url")
    redis_ca_file: kinds.Location | None = _field("redis_ca_file")
    redis_address_map: kinds.AddressMap = _field("redis_address_map")
    redis_sentinel_username: str | None = _field("redis_sentinel_username", min_length=1)
    redis_sentinel_password: str | None = _field("redis_sentinel_password", min_length=1)
    base_url: kinds.ExchangeUrl = _field("base_url")
    symbols: kinds.Symbols = _field("symbols")
    timeframes: kinds.Timeframes = _field("timeframes", min_length=1)
    key_file: kinds.Location | None = _field("key_file")
    ca_file: kinds.Location | None = _field("ca_file")
    proxy: kinds.ProxyUrl | None = _field("proxy")
    workers: kinds.Whole = _field("workers", ge=1, le=64)
    data_dir: kinds.Location | None = _field("data_dir")
    max_candles: kinds.MaxCandles = _field("max_candles", ge=0, le=100_000_000)
    ttl: kinds.Whole = _field("ttl", ge=0, le=3_153_600_000)
    batch_size: kinds.Whole = _field("batch_size", ge=1, le=1_000)
    # A permit is void this long after its slot. With a shorter delay, many would be void before Redis answers.
    batch_delay_ms: kinds.Whole = _field("batch_delay_ms", ge=50, le=3_600_000)
    hourly_limit: kinds.HourlyLimit | None = _field("hourly_limit", ge=0, le=100_000_000)
    egress: kinds.Egress | None = _field("egress")
    quick_scan_window_ms: kinds.Whole = _field("quick_scan_window_ms", ge=60_000, le=_LONGEST_MS)
    full_reconcile_window_ms: kinds.Whole = _field("full_reconcile_window_ms", ge=60_000, le=_LONGEST_MS)
    window_bars: kinds.Whole = _field("window_bars", ge=MINIMUM_STEPS, le=10_000)
    gap_scan_cron: kinds.Cron = _field("gap_scan_cron")
    full_reconcile_cron: kinds.Cron = _field("full_reconcile_cron")
    timezone: kinds.Zone = _field("timezone")
    gap_scan_misfire_grace_ms: kinds.Whole | None = _field("gap_scan_misfire_grace_ms", ge=0, le=_LONGEST_MS)
    gap_scan_max_run_ms: kinds.Whole | None = _field("gap_scan_max_run_ms", ge=1, le=_LONGEST_MS)
    gap_scan_jitter_ms: kinds.Whole = _field("gap_scan_jitter_ms", ge=0, le=_LONGEST_MS)
    full_reconcile_misfire_grace_ms: kinds.Whole | None = _field(
        "full_reconcile_misfire_grace_ms", ge=0, le=_LONGEST_MS
    )
    full_reconcile_max_run_ms: kinds.Whole | None = _field("full_reconcile_max_run_ms", ge=1, le=_LONGEST_MS)
    full_reconcile_jitter_ms: kinds.Whole = _field("full_reconcile_jitter_ms", ge=0, le=_LONGEST_MS)
    layout: Literal["user", "exchange", "overflow"] = _field("layout")
    allow_other_layout: bool = _field("allow_other_layout")
    announce_close: kinds.Whole = _field("announce_close", ge=0, le=10_000)
    user_id: kinds.Whole = _field("user_id", ge=0, le=2**53)
    exchange_id: kinds.Whole = _field("exchange_id", ge=0, le=2**53)
    grace_ms: kinds.Whole = _field("grace_ms", ge=0, le=600_000)
    audit_policy: Literal["report", "repair"] = _field("audit_policy")
    settle_ms: kinds.Settle = _field("settle_ms", ge=0, le=_LONGEST_MS)
    max_unverified_ms: kinds.Whole = _field("max_unverified_ms", ge=0, le=_LONGEST_MS)
    completeness_slo: kinds.Share = _field("completeness_slo", ge=0.5, lt=1)
    verify_share: kinds.Share = _field("verify_share", gt=0, le=1)
    scrub_days: kinds.Whole = _field("scrub_days", ge=0, le=3_650)
    verify_cron: kinds.Cron = _field("verify_cron")
    full_reconcile_verify: Literal["spare", "all"] = _field("full_reconcile_verify")
    listen: kinds.Listen = _field("listen")
    listen_hosts: kinds.Hosts = _field("listen_hosts")
    listen_token: kinds.Token | None = _field("listen_token")
    webhook_url: kinds.WebhookUrl | None = _field("webhook_url")
    webhook_secret: kinds.Token | None = _field("webhook_secret")
    alert_after_ms: kinds.Whole = _field("alert_after_ms", ge=60_000, le=_LONGEST_MS)

    @classmethod
    def check(
        cls,
        settings: Mapping[str, Any],
        origins: Mapping[str, str] | None = None,
        *,
        needs_symbols: bool = False,
        windows: Collection[str] = WINDOWS,
    ) -> Self:
        """Check settings and return them as a configuration.

        Args:
            settings: Values by field name, or by the field's former name. Texts are parsed as from flags and
                environment variables.
            origins: Where each value came from, such as `--workers` or `RECONCILER_WORKERS`, for the messages.
            needs_symbols: Whether an empty list of symbols is a fault.
            windows: Window fields that will be used; only these must fit into retention.

        Raises:
            ConfigError: Some settings are faulty. It holds all faults: field, value, origin and allowed values.
        """
        faults: dict[str, str] = {}
        settings, origins = renamed(settings), renamed(origins or {})
        known = {field: value for field, value in settings.items() if field in cls.model_fields}
        try:
            config = cls.model_validate(known)
        except ValidationError as error:
            faults = field_faults(cls, error, settings, origins)
            config = cls.model_validate({field: value for field, value in known.items() if field not in faults})
        faults |= unknown_faults(cls, settings, origins)
        if needs_symbols and not config.symbols and "symbols" not in faults:
            origin = origin_of("symbols", origins)
            faults["symbols"] = f"symbols is empty{origin}: allowed: {cls.model_fields['symbols'].description}"
        lines = [
            *faults.values(),
            *_retention_faults(config, origins, windows, ignore=faults.keys()),
            *_verify_faults(config, origins, ignore=faults.keys()),
        ]
        if faults.keys().isdisjoint({"listen", "listen_token"}):
            lines += exposure_faults(config.pages, origin_of("listen", origins), has_token=bool(config.listen_token))
        if lines:
            raise ConfigError(lines)
        return config

    @property
    def cache_url(self) -> str | None:
        """`redis_url` with the other Redis settings added as query options; None for the embedded server."""
        if self.redis_url is None:
            return None
        scheme, options = urlsplit(self.redis_url).scheme, {}
        if self.redis_ca_file is not None and scheme.startswith("rediss"):
            options["ssl_ca_certs"] = str(self.redis_ca_file)
        if "+" in scheme:
            options |= {
                "address_map": ",".join(self.redis_address_map),
                "sentinel_username": self.redis_sentinel_username or "",
                "sentinel_password": self.redis_sentinel_password or "",
            }
        more = urlencode({name: value for name, value in options.items() if value})
        return "".join((self.redis_url, "&" if "?" in self.redis_url else "?", more)) if more else self.redis_url

    def budget(self, *, signed: bool) -> Budget:
        """Return the budget of requests with an API key (`signed`) or without one."""
        default = SIGNED_HOURLY_LIMIT if signed else 0
        hourly = default if self.hourly_limit is None else self.hourly_limit
        return Budget(self.batch_size, self.batch_delay_ms, hourly or None)

    @property
    def life_s(self) -> int:
        """Time to live of candle keys (s), 0 for unlimited. It is 0 in layout `exchange`, as in the feeder."""
        return 0 if self.layout == "exchange" else self.ttl

    @property
    def pages(self) -> ListenAddress | None:
        """Address on which the web pages are served (the default if unset); None if they are off."""
        return ListenAddress() if self.listen is None else ListenAddress.parse(self.listen)

    @property
    def route(self) -> Route:
        """Proxy and certificate authorities for connections to the exchange."""
        return Route(self.ca_file, None if self.proxy is None else Proxy.parse(self.proxy))

    @property
    def audit_rules(self) -> AuditRules:
        """Rules for cached candles that differ from the exchange's."""
        return AuditRules(self.audit_policy == "repair", self.settle_ms)

    @property
    def verify_rules(self) -> VerifyRules:
        """Rules for when candles are verified."""
        return VerifyRules(self.settle_ms, self.max_unverified_ms)

    @property
    def choices(self) -> list[str]:
        """Configured symbols that select several products, such as `all:USD`."""
        return [text for text in self.symbols if Selector.parse(text).symbol is None]

    def with_symbols(self, symbols: tuple[str, ...]) -> Self:
        """Return a copy with these symbols: the product ids that the configured symbols select."""
        return self.model_copy(update={"symbols": symbols})

    def series(self) -> list[Series]:
        """Return all configured series, in the configured order of symbols, then of timeframes.

        Raises:
            ValueError: A symbol such as `all:USD` was not yet replaced by product ids, see `with_symbols`.
        """
        return [Series(symbol, Timeframe(name)) for symbol in self.symbols for name in self.timeframes]


def _retention_faults(
    config: ReconciliationConfig, origins: Mapping[str, str], used: Collection[str], ignore: Collection[str]
) -> list[str]:
    """Return the faults of windows that are longer than the cache's retention."""
    if not {"timeframes", "max_candles"}.isdisjoint(ignore):
        return []
    windows = {field: getattr(config, field) for field in used if field not in ignore}
    faults = (
        (field, retention_fault(field, window_ms, Timeframe(name), config.max_candles))
        for field, window_ms in windows.items()
        for name in config.timeframes
    )
    return [
        fault.replace(field, f"{field}{origin_of(field, origins)}", 1) for field, fault in faults if fault is not None
    ]


def _verify_faults(config: ReconciliationConfig, origins: Mapping[str, str], ignore: Collection[str]) -> list[str]:
    """Return the fault of a `max_unverified_ms` that leaves too little time to verify bars, if it does."""
    field = "max_unverified_ms"
    least_ms = config.settle_ms + VERIFY_TIME_MS
    if config.max_unverified_ms >= least_ms or not {field, "settle_ms"}.isdisjoint(ignore):
        return []
    settled = f"settle_ms is {config.settle_ms}{origin_of('settle_ms', origins)}: at least {least_ms}"
    allowed = SETTINGS[field].allowed
    return [f"{field} {config.max_unverified_ms}{origin_of(field, origins)}: allowed: {allowed} ({settled})"]


DEFAULT_RECONCILIATION_CONFIG = ReconciliationConfig()
