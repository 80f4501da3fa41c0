//! Parses replies about many keys from a stream of bytes.

use std::mem;
use std::slice;

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::{PyBufferError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyList, PyMemoryView};
use reconciler_candles::{Answer, Replies, Span};

use crate::check_members::columns;
use crate::output::memoryview;

/// The native `SpanReplies` of `reconciler_engine.detection.replies`.
#[pyclass(module = "reconciler_engine._native")]
#[derive(Default)]
pub struct SpanReplies {
    replies: Replies,
}

#[pymethods]
impl SpanReplies {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    #[pyo3(signature = (symbol, timeframe, start, step, length, blocks = 0, /))]
    fn ask(&mut self, symbol: String, timeframe: String, start: i64, step: i64, length: usize, blocks: usize) {
        self.replies.ask(Span {
            symbol,
            timeframe,
            start,
            step,
            length,
            blocks,
        });
    }

    #[pyo3(signature = (data, /))]
    fn feed(&mut self, data: &Bound<'_, PyAny>) -> PyResult<usize> {
        let buffer = PyBuffer::<u8>::get(data)?;
        let cells = buffer
            .as_slice_ptr()
            .ok_or_else(|| PyBufferError::new_err("data must be contiguous bytes"))?;
        // SAFETY: the bytes are contiguous. The buffer and the interpreter are held, so no other code writes to the
        // bytes meanwhile.
        let bytes = unsafe { slice::from_raw_parts(cells.cast::<u8>().as_ptr(), cells.len()) };
        self.replies
            .feed(bytes)
            .map_err(|refusal| PyValueError::new_err(refusal.to_string()))
    }

    fn take<'py>(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let answers = self.replies.take();
        let list = PyList::empty(py);
        for answer in answers {
            list.append(shown(py, answer)?)?;
        }
        Ok(list)
    }
}

/// Converts an answer: None for a whole span, `Doubts` for a whole span with unverified candles, the text of a server's
/// error, and all columns of `Members` in any other case.
fn shown(py: Python<'_>, answer: Answer) -> PyResult<Bound<'_, PyAny>> {
    Ok(match answer {
        Answer::Whole => py.None().into_bound(py),
        Answer::Unverified(scan) => doubts(py, scan.unverified, scan.changed)?.into_pyobject(py)?.into_any(),
        Answer::Held(mut scan) => {
            let (unverified, changed) = doubts(py, mem::take(&mut scan.unverified), mem::take(&mut scan.changed))?;
            let (timestamps, duplicates, malformed, fillers) = columns(py, scan)?;
            (timestamps, duplicates, malformed, fillers, unverified, changed)
                .into_pyobject(py)?
                .into_any()
        }
        Answer::Refused(text) => String::from_utf8_lossy(&text)
            .into_owned()
            .into_pyobject(py)?
            .into_any(),
    })
}

/// Open times of unverified candles, and of those of them that changed.
type Doubts<'py> = (Bound<'py, PyMemoryView>, Bound<'py, PyMemoryView>);

fn doubts(py: Python<'_>, unverified: Vec<i64>, changed: Vec<i64>) -> PyResult<Doubts<'_>> {
    Ok((memoryview(py, unverified)?, memoryview(py, changed)?))
}
