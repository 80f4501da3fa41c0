//! The one input type: int64 values of a caller, borrowed where memory allows.

use pyo3::buffer::{PyBuffer, PyUntypedBuffer};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::critical_section::with_critical_section;
use pyo3::types::PyList;
use reconciler_gaps::Column;

/// Values above which the interpreter is released; below, the hand-over costs more than the work.
const RELEASE_ABOVE: usize = 100_000;

/// Int64 values a caller gave: a contiguous, aligned buffer in place, the rest copied.
pub enum Int64Input {
    Borrowed(PyBuffer<i64>),
    Copied(Vec<i64>),
}

impl Int64Input {
    /// Returns the values of `object`, or None if it is neither such a buffer nor a list of int64 numbers.
    ///
    /// Why it is neither is the slow path's question, which `reconciler_engine.detection.inputs` answers.
    pub fn of(object: &Bound<'_, PyAny>) -> Option<Self> {
        if let Ok(list) = object.cast_exact::<PyList>() {
            // Without a GIL too, no other thread takes an item out of the list meanwhile.
            return with_critical_section(list, || copy_list(list)).map(Self::Copied);
        }
        let buffer = PyUntypedBuffer::get(object).ok()?;
        let int64 = is_int64(buffer.format().to_bytes()) && buffer.item_size() == size_of::<i64>();
        if !int64 || buffer.dimensions() != 1 || !buffer.is_c_contiguous() {
            return None;
        }
        if buffer.buf_ptr().cast::<i64>().is_aligned() && buffer.item_count() > 0 {
            return buffer.into_typed().ok().map(Self::Borrowed);
        }
        let count = buffer.item_count();
        // SAFETY: the buffer is held and contiguous, and the interpreter with it; each item is read once, without
        // asking for alignment. Nothing is read from an empty one.
        let copied = (0..count).map(|index| unsafe { buffer.buf_ptr().cast::<i64>().add(index).read_unaligned() });
        Some(Self::Copied(copied.collect()))
    }

    /// Runs `work` on the values, with the interpreter released if there are many.
    pub fn with<T: Send>(&self, py: Python<'_>, work: impl FnOnce(Column<'_>) -> T + Send) -> T {
        let column = self.column();
        if column.len() > RELEASE_ABOVE {
            py.detach(|| work(column))
        } else {
            work(column)
        }
    }

    /// The values as a column.
    pub fn column(&self) -> Column<'_> {
        match self {
            Self::Borrowed(buffer) => {
                // SAFETY: `of` checked size, format, contiguity and alignment, and that it is not empty; the buffer is held, so
                // its memory stays, for as long as `self` is borrowed. Writers meanwhile are the column's business.
                unsafe { Column::from_raw(buffer.buf_ptr().cast(), buffer.item_count()) }
            }
            Self::Copied(values) => Column::from(values),
        }
    }
}

/// Whether a `struct` format is a signed integer in this machine's byte order; the size is asked elsewhere.
///
/// Not pyo3's `is_compatible_format`, which takes `>q` for an `i64` on a little-endian machine.
fn is_int64(format: &[u8]) -> bool {
    let native_order = if cfg!(target_endian = "little") { b'<' } else { b'>' };
    match format {
        [b'q' | b'l'] | [b'@' | b'=', b'q'] | [b'@', b'l'] => true,
        [order, b'q'] => *order == native_order,
        _ => false,
    }
}

/// Copies a list whose items all are int itself (no subclass, so no bool) and int64 values.
fn copy_list(list: &Bound<'_, PyList>) -> Option<Vec<i64>> {
    let mut values = Vec::with_capacity(list.len());
    for index in 0..list.len() {
        // SAFETY: the interpreter is held, the list alive and not written to by others; a bad index gives null with an error set. The
        // reference is borrowed, and no Python code runs before we are done with it: the item is an exact int.
        let value = unsafe {
            let item = ffi::PyList_GetItem(list.as_ptr(), index.cast_signed());
            if item.is_null() || ffi::PyLong_CheckExact(item) == 0 {
                -1
            } else {
                as_int64(item)
            }
        };
        if value == -1 && !is_minus_one(list, index) {
            return None;
        }
        values.push(value);
    }
    Some(values)
}

/// Converts an exact int; -1 with an error set if it does not fit int64.
///
/// Where a C long has 64 bits: the fast way. `PyLong_AsLongLong` takes three times as long (3.11, measured).
///
/// # Safety
///
/// The interpreter is held, and `item` is an int.
#[inline]
unsafe fn as_int64(item: *mut ffi::PyObject) -> i64 {
    // SAFETY: the caller vouches for it.
    #[cfg(all(unix, target_pointer_width = "64"))]
    return unsafe { ffi::PyLong_AsLong(item) };
    // SAFETY: the caller vouches for it.
    #[cfg(not(all(unix, target_pointer_width = "64")))]
    return unsafe { ffi::PyLong_AsLongLong(item) };
}

/// Tells the value -1 from a refusal; clears the error of the latter.
#[cold]
fn is_minus_one(list: &Bound<'_, PyList>, index: usize) -> bool {
    drop(PyErr::take(list.py()));
    list.get_item(index).is_ok_and(|item| {
        // SAFETY: the item is a live object.
        let exact = unsafe { ffi::PyLong_CheckExact(item.as_ptr()) } != 0;
        exact && item.extract::<i64>().is_ok_and(|value| value == -1)
    })
}
