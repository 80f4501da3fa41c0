//! `reconciler_engine._native`: a table of contents, no logic.

use pyo3::prelude::*;

/// The native half of `reconciler_engine`.
#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("DEBUG_BUILD", cfg!(debug_assertions))?;
    Ok(())
}
