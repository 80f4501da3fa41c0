//! Values that are computed from the columns of gaps on demand: ends, and tuples.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyMemoryView};

use crate::input::Int64Input;
use crate::output::memoryview;

#[pyfunction]
#[pyo3(signature = (starts, counts, step, /))]
pub fn gap_ends<'py>(
    py: Python<'py>,
    starts: &Bound<'py, PyAny>,
    counts: &Bound<'py, PyAny>,
    step: u64,
) -> PyResult<Bound<'py, PyMemoryView>> {
    let [starts, counts] = columns_of_one_length([starts, counts])?;
    let ends = starts.with(py, |starts| -> Vec<i64> {
        (starts.values().zip(counts.column().values()))
            .map(|(start, count)| start.wrapping_add_unsigned(count.wrapping_sub(1).cast_unsigned().wrapping_mul(step)))
            .collect()
    });
    memoryview(py, ends)
}

#[pyfunction]
#[pyo3(signature = (starts, ends, counts, /))]
pub fn gap_tuples<'py>(
    py: Python<'py>,
    starts: &Bound<'py, PyAny>,
    ends: &Bound<'py, PyAny>,
    counts: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyList>> {
    let [starts, ends, counts] = columns_of_one_length([starts, ends, counts])?;
    let (starts, ends, counts) = (starts.column(), ends.column(), counts.column());
    let rows = (0..starts.len()).map(|row| (starts.get(row), ends.get(row), counts.get(row)));
    PyList::new(py, rows)
}

fn columns_of_one_length<const N: usize>(objects: [&Bound<'_, PyAny>; N]) -> PyResult<[Int64Input; N]> {
    let columns: Vec<Int64Input> = objects.into_iter().filter_map(Int64Input::of).collect();
    let lengths = columns.iter().map(|column| column.column().len());
    let agree = lengths.clone().max() == lengths.min();
    match <[Int64Input; N]>::try_from(columns) {
        Ok(columns) if agree => Ok(columns),
        _ => Err(PyValueError::new_err("the columns must be int64 buffers of one length")),
    }
}
