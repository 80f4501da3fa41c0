//! Writes candles as members of their key.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};
use reconciler_candles::{Values, write_member};

#[pyfunction]
#[pyo3(signature = (candles, names, /))]
pub fn write_members<'py>(candles: &Bound<'py, PyAny>, names: &str) -> PyResult<Bound<'py, PyList>> {
    let py = candles.py();
    let pairs = PyList::empty(py);
    for candle in candles.try_iter()? {
        let values = values_of(&candle?)?;
        pairs.append(PyBytes::new(py, values.timestamp.to_string().as_bytes()))?;
        pairs.append(PyBytes::new(py, &write_member(&values, names)))?;
    }
    Ok(pairs)
}

fn values_of(candle: &Bound<'_, PyAny>) -> PyResult<Values> {
    let py = candle.py();
    Ok(Values {
        timestamp: candle.getattr(intern!(py, "timestamp"))?.extract()?,
        open: candle.getattr(intern!(py, "open"))?.extract()?,
        high: candle.getattr(intern!(py, "high"))?.extract()?,
        low: candle.getattr(intern!(py, "low"))?.extract()?,
        close: candle.getattr(intern!(py, "close"))?.extract()?,
        volume: candle.getattr(intern!(py, "volume"))?.extract()?,
        sequence: candle.getattr(intern!(py, "sequence_num"))?.extract()?,
    })
}
