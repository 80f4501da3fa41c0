//! The only input type: int64 values of a caller, borrowed if their memory layout allows.

use pyo3::buffer::{PyBuffer, PyUntypedBuffer};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::critical_section::with_critical_section;
use pyo3::types::PyList;
use reconciler_gaps::Column;

/// Number of values above which the interpreter is released. For fewer, the release costs more than the work.
const RELEASE_ABOVE: usize = 100_000;

/// Int64 values of a caller: a contiguous, aligned buffer is used in place, other values are copied.
pub enum Int64Input {
    Borrowed(PyBuffer<i64>),
    Copied(Vec<i64>),
}

impl Int64Input {
    /// Returns the values of `object`, or None if it is neither an int64 buffer nor a list of int64 numbers.
    ///
    /// In that case `reconciler_engine.detection.inputs` converts the object or raises the error.
    pub fn of(object: &Bound<'_, PyAny>) -> Option<Self> {
        if let Ok(list) = object.cast_exact::<PyList>() {
            // Prevents other threads from removing items meanwhile, also without a GIL.
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
        // SAFETY: the buffer is held and contiguous, and the interpreter is held. Each item is read once, without need
        // of alignment. Nothing is read from an empty buffer.
        let copied = (0..count).map(|index| unsafe { buffer.buf_ptr().cast::<i64>().add(index).read_unaligned() });
        Some(Self::Copied(copied.collect()))
    }

    /// Runs `work` on the values. If there are many, the interpreter is released meanwhile.
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
                // SAFETY: `of` checked size, format, contiguity, alignment, and that the buffer is not empty. The
                // buffer is held while `self` is borrowed, so its memory stays. The column tolerates concurrent writes.
                unsafe { Column::from_raw(buffer.buf_ptr().cast(), buffer.item_count()) }
            }
            Self::Copied(values) => Column::from(values),
        }
    }
}

/// Whether a `struct` format is a signed integer in this machine's byte order. Its size is checked elsewhere.
///
/// pyo3's `is_compatible_format` is not used, because it accepts `>q` as `i64` on a little-endian machine.
fn is_int64(format: &[u8]) -> bool {
    let native_order = if cfg!(target_endian = "little") { b'<' } else { b'>' };
    match format {
        [b'q' | b'l'] | [b'@' | b'=', b'q'] | [b'@', b'l'] => true,
        [order, b'q'] => *order == native_order,
        _ => false,
    }
}

/// Copies a list if all its items are exactly of type int (no subclass such as bool) and fit int64.
fn copy_list(list: &Bound<'_, PyList>) -> Option<Vec<i64>> {
    let mut values = Vec::with_capacity(list.len());
    for index in 0..list.len() {
        // SAFETY: the interpreter is held, and the list is alive and not changed by others. A bad index gives null with
        // an error set. The borrowed reference stays valid: the item is an exact int, so no Python code runs meanwhile.
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

/// Converts an exact int; returns -1 with an error set if it does not fit int64.
///
/// If a C long has 64 bits, `PyLong_AsLong` is used: `PyLong_AsLongLong` takes three times as long (3.11, measured).
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

/// Distinguishes the value -1 from a failed conversion, and clears the error of the latter.
#[cold]
fn is_minus_one(list: &Bound<'_, PyList>, index: usize) -> bool {
    drop(PyErr::take(list.py()));
    list.get_item(index).is_ok_and(|item| {
        // SAFETY: the item is a live object.
        let exact = unsafe { ffi::PyLong_CheckExact(item.as_ptr()) } != 0;
        exact && item.extract::<i64>().is_ok_and(|value| value == -1)
    })
}
