//! Sorts the members of a candle key into candles of the series and others.

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyMemoryView};
use reconciler_candles::{Scan, Series};

use crate::output::memoryview;

/// Timestamps, duplicates, malformed, fillers.
pub type Columns<'py> = (
    Bound<'py, PyMemoryView>,
    Bound<'py, PyMemoryView>,
    Bound<'py, PyMemoryView>,
    Bound<'py, PyMemoryView>,
);

#[pyfunction]
#[pyo3(signature = (reply, symbol, timeframe, step, /))]
pub fn check_members<'py>(
    py: Python<'py>,
    reply: &Bound<'py, PyList>,
    symbol: &str,
    timeframe: &str,
    step: i64,
) -> PyResult<Columns<'py>> {
    let series = Series {
        symbol,
        timeframe,
        step,
    };
    let length = reply.len();
    if length % 2 != 0 {
        return Err(PyValueError::new_err(format!(
            "reply has {length} items; it must alternate members and scores (WITHSCORES)"
        )));
    }
    let mut scan = Scan::with_capacity(length / 2);
    for index in (0..length).step_by(2) {
        let (member, score) = (item(reply, index)?, item(reply, index + 1)?);
        scan.push(member.as_bytes(), score.as_bytes(), series)
            .map_err(|refusal| {
                let shown = score.as_any().repr().map(|text| text.to_string()).unwrap_or_default();
                PyValueError::new_err(format!("reply[{}] is {shown}: {refusal}", index + 1))
            })?;
    }
    columns(py, scan)
}

pub fn columns(py: Python<'_>, scan: Scan) -> PyResult<Columns<'_>> {
    Ok((
        memoryview(py, scan.timestamps)?,
        memoryview(py, scan.duplicates)?,
        memoryview(py, scan.malformed)?,
        memoryview(py, scan.fillers)?,
    ))
}

fn item<'py>(reply: &Bound<'py, PyList>, index: usize) -> PyResult<Bound<'py, PyBytes>> {
    reply.get_item(index)?.cast_into::<PyBytes>().map_err(|refusal| {
        let kind = refusal.into_inner().get_type();
        PyTypeError::new_err(format!(
            "reply[{index}] is {}; every item must be bytes",
            kind.name().map(|name| name.to_string()).unwrap_or_default()
        ))
    })
}
