//! Gap detection on a grid that is given as an array of points.

use pyo3::prelude::*;
use pyo3::types::PyMemoryView;
use reconciler_gaps::detect_explicit;

use crate::input::Int64Input;
use crate::output::memoryview;

/// Starts, ends and counts.
type Columns<'py> = (
    Bound<'py, PyMemoryView>,
    Bound<'py, PyMemoryView>,
    Bound<'py, PyMemoryView>,
);

#[pyfunction]
#[pyo3(signature = (timestamps, expected, /))]
pub fn detect_gaps_explicit<'py>(
    py: Python<'py>,
    timestamps: &Bound<'py, PyAny>,
    expected: &Bound<'py, PyAny>,
) -> PyResult<Option<Columns<'py>>> {
    let Some(expected) = Int64Input::of(expected) else {
        return Ok(None);
    };
    let Some(input) = Int64Input::of(timestamps) else {
        return Ok(None);
    };
    let expected = expected.column();
    // None makes the caller take the slow path, which finds the faulty index and raises the error.
    let Ok(gaps) = input.with(py, |column| detect_explicit(column, expected)) else {
        return Ok(None);
    };
    Ok(Some((
        memoryview(py, gaps.starts)?,
        memoryview(py, gaps.ends)?,
        memoryview(py, gaps.counts)?,
    )))
}
