//! `reconciler_engine._native`: the list of its contents, without logic.

mod arrow;
mod check_members;
mod detect_gaps;
mod detect_gaps_explicit;
mod export_gaps;
mod gap_columns;
mod input;
mod output;
mod span_replies;
mod watch_lifeline;
mod write_members;

use pyo3::prelude::*;

/// The native half of `reconciler_engine`.
#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("DEBUG_BUILD", cfg!(debug_assertions))?;
    module.add_class::<output::Int64Column>()?;
    module.add_class::<span_replies::SpanReplies>()?;
    module.add_function(wrap_pyfunction!(check_members::check_members, module)?)?;
    module.add_function(wrap_pyfunction!(detect_gaps::detect_gaps, module)?)?;
    module.add_function(wrap_pyfunction!(detect_gaps_explicit::detect_gaps_explicit, module)?)?;
    module.add_function(wrap_pyfunction!(export_gaps::export_gaps, module)?)?;
    module.add_function(wrap_pyfunction!(export_gaps::export_gaps_schema, module)?)?;
    module.add_function(wrap_pyfunction!(gap_columns::gap_ends, module)?)?;
    module.add_function(wrap_pyfunction!(gap_columns::gap_tuples, module)?)?;
    module.add_function(wrap_pyfunction!(watch_lifeline::watch_lifeline, module)?)?;
    module.add_function(wrap_pyfunction!(write_members::write_members, module)?)?;
    Ok(())
}
