//! Gap detection on a regular grid.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyMemoryView;
use reconciler_gaps::{Grid, PART, detect_in_parts, detect_trusted, helpful_threads};

use crate::input::Int64Input;
use crate::output::memoryview;

/// Starts, counts and the number of missing points; None if the timestamps must be converted first.
type Columns<'py> = Option<(Bound<'py, PyMemoryView>, Bound<'py, PyMemoryView>, u64)>;

#[pyfunction]
#[pyo3(signature = (timestamps, start, step, length, trusted, threads, /))]
pub fn detect_gaps<'py>(
    py: Python<'py>,
    timestamps: &Bound<'py, PyAny>,
    start: i64,
    step: u64,
    length: u64,
    trusted: bool,
    threads: usize,
) -> PyResult<Columns<'py>> {
    let grid = Grid::new(start, step, length).map_err(|refusal| PyValueError::new_err(refusal.to_string()))?;
    let Some(input) = Int64Input::of(timestamps) else {
        return Ok(None);
    };
    let threads = helpful_threads(input.column().len(), threads);
    let gaps = if trusted {
        detect_trusted(input.column(), &grid, threads)
    } else {
        input.with(py, |column| detect_in_parts(column, &grid, threads, PART))
    };
    let missing = gaps.missing();
    let (starts, counts) = gaps.into_columns();
    Ok(Some((memoryview(py, starts)?, memoryview(py, counts)?, missing)))
}
