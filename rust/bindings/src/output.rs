//! The only output type: int64 values owned by Rust, shared with Python through the buffer protocol.

use std::ffi::{c_int, c_void};
use std::ptr;

use pyo3::exceptions::PyBufferError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyMemoryView;
use reconciler_gaps::Values;

/// Read-only int64 values, owned by Rust; `memoryview(column)` shares them.
#[pyclass(frozen, module = "reconciler_engine._native")]
pub struct Int64Column {
    values: Values,
    /// Shape of the buffer, to which consumers get a pointer.
    shape: [ffi::Py_ssize_t; 1],
}

/// Stride of every buffer: its items are adjacent.
static STRIDES: [ffi::Py_ssize_t; 1] = [size_of::<i64>().cast_signed()];

/// Wraps values into a read-only memoryview that owns them.
pub fn memoryview(py: Python<'_>, values: impl Into<Values>) -> PyResult<Bound<'_, PyMemoryView>> {
    let values = values.into();
    let shape = [values.len().cast_signed()];
    PyMemoryView::from(Bound::new(py, Int64Column { values, shape })?.as_any())
}

#[pymethods]
impl Int64Column {
    /// Exports the values (`bf_getbuffer`).
    ///
    /// # Safety
    ///
    /// The interpreter must pass a valid or null view.
    unsafe fn __getbuffer__(slf: Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        if view.is_null() {
            return Err(PyBufferError::new_err("no view to fill"));
        }
        if flags & ffi::PyBUF_WRITABLE == ffi::PyBUF_WRITABLE {
            // SAFETY: the view is not null. An exporter that fails must set its owner to null.
            unsafe { (*view).obj = ptr::null_mut() };
            return Err(PyBufferError::new_err("these int64 values are read-only"));
        }
        let column = slf.get();
        // SAFETY: the view is not null. All pointers are to statics or into the column, which is frozen and kept alive
        // by the reference in `obj`. Consumers may not write, because `readonly` is set.
        unsafe {
            (*view).buf = column.values.as_ptr().cast_mut().cast::<c_void>();
            (*view).len = column.shape[0] * STRIDES[0];
            (*view).readonly = 1;
            (*view).itemsize = STRIDES[0];
            (*view).format = if flags & ffi::PyBUF_FORMAT == ffi::PyBUF_FORMAT {
                c"q".as_ptr().cast_mut()
            } else {
                ptr::null_mut()
            };
            (*view).ndim = 1;
            (*view).shape = if flags & ffi::PyBUF_ND == ffi::PyBUF_ND {
                column.shape.as_ptr().cast_mut()
            } else {
                ptr::null_mut()
            };
            (*view).strides = if flags & ffi::PyBUF_STRIDES == ffi::PyBUF_STRIDES {
                STRIDES.as_ptr().cast_mut()
            } else {
                ptr::null_mut()
            };
            (*view).suboffsets = ptr::null_mut();
            (*view).internal = ptr::null_mut();
            (*view).obj = slf.into_any().into_ptr();
        }
        Ok(())
    }
}
