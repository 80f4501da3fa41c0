//! The Arrow C data and stream interfaces, as far as a table of int64 columns needs them.
//!
//! Layouts: <https://arrow.apache.org/docs/format/CDataInterface.html>, read 2026-11-23. Each structure owns the data
//! behind its `private_data`. Its `release` frees that data and sets itself to null, which marks a released structure.
//! Children own their data themselves, because a consumer may move them out of their parent.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::mem;
use std::ptr;

use pyo3::buffer::PyBuffer;

/// Names of the columns of a table of gaps.
const NAMES: [&CStr; 3] = [c"start", c"end", c"count"];

/// `ArrowSchema`: the type of a column or of a table.
#[repr(C)]
pub struct ArrowSchema {
    format: *const c_char,
    name: *const c_char,
    metadata: *const c_char,
    flags: i64,
    n_children: i64,
    children: *mut *mut ArrowSchema,
    dictionary: *mut ArrowSchema,
    release: Option<unsafe extern "C" fn(*mut ArrowSchema)>,
    private_data: *mut c_void,
}

/// `ArrowArray`: the values of a column or of a table.
#[repr(C)]
struct ArrowArray {
    length: i64,
    null_count: i64,
    offset: i64,
    n_buffers: i64,
    n_children: i64,
    buffers: *const *const c_void,
    children: *mut *mut ArrowArray,
    dictionary: *mut ArrowArray,
    release: Option<unsafe extern "C" fn(*mut ArrowArray)>,
    private_data: *mut c_void,
}

/// `ArrowArrayStream`: a sequence of tables of one schema. Here it always has a single table.
#[repr(C)]
pub struct ArrowArrayStream {
    get_schema: Option<unsafe extern "C" fn(*mut ArrowArrayStream, *mut ArrowSchema) -> c_int>,
    get_next: Option<unsafe extern "C" fn(*mut ArrowArrayStream, *mut ArrowArray) -> c_int>,
    get_last_error: Option<unsafe extern "C" fn(*mut ArrowArrayStream) -> *const c_char>,
    release: Option<unsafe extern "C" fn(*mut ArrowArrayStream)>,
    private_data: *mut c_void,
}

// SAFETY: the structure owns the data that it points to, none of which is bound to a thread.
unsafe impl Send for ArrowSchema {}
// SAFETY: as above; the columns are Python buffers, which pyo3 releases from any thread.
unsafe impl Send for ArrowArrayStream {}

/// The columns of a table of gaps: starts, ends and counts, of equal length.
pub struct Columns(pub [PyBuffer<i64>; 3]);

impl ArrowSchema {
    /// The schema of a table of gaps: three int64 columns without nulls.
    pub fn of_gaps() -> Self {
        let children = NAMES.map(|name| Box::into_raw(Box::new(Self::plain(c"l", name))));
        let children = Box::into_raw(Box::new(children));
        Self {
            n_children: 3,
            children: children.cast(),
            release: Some(release_table_schema),
            private_data: children.cast(),
            ..Self::plain(c"+s", c"")
        }
    }

    /// A schema that owns nothing.
    const fn plain(format: &'static CStr, name: &'static CStr) -> Self {
        Self {
            format: format.as_ptr(),
            name: name.as_ptr(),
            metadata: ptr::null(),
            flags: 0,
            n_children: 0,
            children: ptr::null_mut(),
            dictionary: ptr::null_mut(),
            release: Some(release_plain_schema),
            private_data: ptr::null_mut(),
        }
    }
}

impl Drop for ArrowSchema {
    fn drop(&mut self) {
        if let Some(release) = self.release {
            // SAFETY: not released yet, and not used afterwards.
            unsafe { release(self) };
        }
    }
}

unsafe extern "C" fn release_plain_schema(schema: *mut ArrowSchema) {
    // SAFETY: the consumer passes a structure that was made here.
    unsafe { (*schema).release = None };
}

unsafe extern "C" fn release_table_schema(schema: *mut ArrowSchema) {
    // SAFETY: a structure made by `of_gaps`, so its private data is its array of boxed children. Children that a
    // consumer moved out are marked as released, and drop nothing.
    unsafe {
        for child in *Box::from_raw((*schema).private_data.cast::<[*mut ArrowSchema; 3]>()) {
            drop(Box::from_raw(child));
        }
        (*schema).release = None;
    }
}

/// Data that the array of a column keeps alive: the values, and the list of buffers that points to them.
struct ColumnData {
    buffers: [*const c_void; 2],
    _values: PyBuffer<i64>,
}

/// Data that the array of a table keeps alive: its empty list of buffers, and its children.
struct TableData {
    buffers: [*const c_void; 1],
    children: [*mut ArrowArray; 3],
}

impl ArrowArray {
    fn of_column(values: PyBuffer<i64>) -> Self {
        let length = values.item_count() as u64;
        let buffers = [ptr::null(), values.buf_ptr().cast_const()];
        let data = Box::into_raw(Box::new(ColumnData {
            buffers,
            _values: values,
        }));
        Self {
            length: length.cast_signed(),
            null_count: 0,
            offset: 0,
            n_buffers: 2,
            n_children: 0,
            // SAFETY: just made.
            buffers: unsafe { (*data).buffers.as_ptr() },
            children: ptr::null_mut(),
            dictionary: ptr::null_mut(),
            release: Some(release_column),
            private_data: data.cast(),
        }
    }

    fn of_gaps(columns: Columns) -> Self {
        let length = columns.0[0].item_count() as u64;
        let children = columns.0.map(|values| Box::into_raw(Box::new(Self::of_column(values))));
        let data = Box::into_raw(Box::new(TableData {
            buffers: [ptr::null()],
            children,
        }));
        // SAFETY: just made.
        let (buffers, children) = unsafe { ((*data).buffers.as_ptr(), (*data).children.as_mut_ptr()) };
        Self {
            length: length.cast_signed(),
            null_count: 0,
            offset: 0,
            n_buffers: 1,
            n_children: 3,
            buffers,
            children,
            dictionary: ptr::null_mut(),
            release: Some(release_table),
            private_data: data.cast(),
        }
    }

    /// A released array, which marks the end of a stream.
    const fn released() -> Self {
        Self {
            length: 0,
            null_count: 0,
            offset: 0,
            n_buffers: 0,
            n_children: 0,
            buffers: ptr::null(),
            children: ptr::null_mut(),
            dictionary: ptr::null_mut(),
            release: None,
            private_data: ptr::null_mut(),
        }
    }
}

unsafe extern "C" fn release_column(array: *mut ArrowArray) {
    // SAFETY: a structure made by `of_column`, released once.
    unsafe {
        drop(Box::from_raw((*array).private_data.cast::<ColumnData>()));
        (*array).release = None;
    }
}

unsafe extern "C" fn release_table(array: *mut ArrowArray) {
    // SAFETY: a structure made by `of_gaps`, released once. Children that were moved out are marked as released.
    unsafe {
        let data = Box::from_raw((*array).private_data.cast::<TableData>());
        for child in data.children {
            if let Some(release) = (*child).release {
                release(child);
            }
            drop(Box::from_raw(child));
        }
        (*array).release = None;
    }
}

impl ArrowArrayStream {
    /// A stream of one table.
    pub fn of_gaps(columns: Columns) -> Self {
        Self {
            get_schema: Some(get_schema),
            get_next: Some(get_next),
            get_last_error: Some(get_last_error),
            release: Some(release_stream),
            private_data: Box::into_raw(Box::new(Some(columns))).cast(),
        }
    }
}

impl Drop for ArrowArrayStream {
    fn drop(&mut self) {
        if let Some(release) = self.release {
            // SAFETY: not released yet, and not used afterwards.
            unsafe { release(self) };
        }
    }
}

unsafe extern "C" fn get_schema(_: *mut ArrowArrayStream, out: *mut ArrowSchema) -> c_int {
    // SAFETY: the consumer's structure, not initialised.
    unsafe { out.write(ArrowSchema::of_gaps()) };
    0
}

unsafe extern "C" fn get_next(stream: *mut ArrowArrayStream, out: *mut ArrowArray) -> c_int {
    // SAFETY: a stream made by `of_gaps` that is not released, so its private data is an optional table. `out` is the
    // consumer's structure, not initialised.
    unsafe {
        let columns = &mut *(*stream).private_data.cast::<Option<Columns>>();
        out.write(mem::take(columns).map_or(ArrowArray::released(), ArrowArray::of_gaps));
    }
    0
}

/// Returns no message, because this stream never fails.
unsafe extern "C" fn get_last_error(_: *mut ArrowArrayStream) -> *const c_char {
    ptr::null()
}

unsafe extern "C" fn release_stream(stream: *mut ArrowArrayStream) {
    // SAFETY: a stream made by `of_gaps`, released once.
    unsafe {
        drop(Box::from_raw((*stream).private_data.cast::<Option<Columns>>()));
        (*stream).release = None;
    }
}
