//! Exports a table of gaps to Arrow.

use pyo3::buffer::PyBuffer;
use pyo3::prelude::*;
use pyo3::types::PyCapsule;

use crate::arrow::{ArrowArrayStream, ArrowSchema, Columns};

#[pyfunction]
#[pyo3(signature = (starts, ends, counts, /))]
pub fn export_gaps(
    py: Python<'_>,
    starts: PyBuffer<i64>,
    ends: PyBuffer<i64>,
    counts: PyBuffer<i64>,
) -> PyResult<Bound<'_, PyCapsule>> {
    let stream = ArrowArrayStream::of_gaps(Columns([starts, ends, counts]));
    PyCapsule::new_with_value(py, stream, c"arrow_array_stream")
}

#[pyfunction]
pub fn export_gaps_schema(py: Python<'_>) -> PyResult<Bound<'_, PyCapsule>> {
    PyCapsule::new_with_value(py, ArrowSchema::of_gaps(), c"arrow_schema")
}
