//! Address space of our own: reserved once, used page by page, on huge pages where the system has them.

use std::ptr::{self, NonNull};
use std::slice;
use std::sync::Mutex;

/// Size and alignment of a huge page on the machines we know; elsewhere it is just a rounding.
const HUGE_PAGE: usize = 2 << 20;
/// Most bytes ever reserved; an answer beyond that grows on the heap.
const MOST: usize = 1 << 42;
/// Largest region that is kept for the next answer: fresh pages cost more than the writes to them.
const KEPT_BYTES: usize = 128 << 20;
/// Bytes of a region that is kept as it is, as much as glibc's malloc would keep; the system may take the rest
/// back whenever it is short of memory.
const KEPT_FOR_GOOD: usize = 32 << 20;
/// Most regions kept: the two columns of an answer.
const KEPT: usize = 2;

/// Regions that wait for the next answer, at most [`KEPT`] of at most [`KEPT_BYTES`].
static WAITING: Mutex<Vec<Region>> = Mutex::new(Vec::new());

/// A private anonymous mapping, owned by its holder. Only touched pages cost memory.
#[derive(Debug)]
struct Region {
    /// Start of the mapping, page-aligned, and the bytes of it that are still mapped.
    base: NonNull<u8>,
    mapped: usize,
    /// The first value, aligned to a huge page within the mapping.
    first: NonNull<i64>,
}

// SAFETY: the memory is owned and holds plain values.
unsafe impl Send for Region {}

impl Region {
    fn map(bound: usize) -> Option<Self> {
        let bytes = bound
            .checked_mul(size_of::<i64>())?
            .checked_next_multiple_of(HUGE_PAGE)?;
        // Miri knows neither these flags nor madvise.
        if bytes > MOST || cfg!(miri) {
            return None;
        }
        let mapped = bytes + HUGE_PAGE;
        // SAFETY: an anonymous mapping at a place of the kernel's choice; nothing existing is touched.
        let base = unsafe {
            libc::mmap(
                ptr::null_mut(),
                mapped,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return None;
        }
        let base = NonNull::new(base.cast::<u8>())?;
        // At most one huge page, and the mapping is that much longer than `bytes`.
        let offset = base.as_ptr().align_offset(HUGE_PAGE).min(HUGE_PAGE);
        // SAFETY: within the mapping, as just said.
        let first = unsafe { base.add(offset) }.cast::<i64>();
        // SAFETY: the range is within the mapping. A refusal does no harm: pages are then of the usual size.
        unsafe { libc::madvise(first.as_ptr().cast(), bytes, libc::MADV_HUGEPAGE) };
        Some(Self { base, mapped, first })
    }

    /// Bytes before the first value.
    fn head(&self) -> usize {
        // SAFETY: both point into one mapping.
        unsafe { self.first.cast::<u8>().offset_from_unsigned(self.base) }
    }

    /// Gives back memory behind the first `len` values.
    fn trim(&mut self, len: usize) {
        let used = self.head() + (len * size_of::<i64>()).next_multiple_of(HUGE_PAGE);
        if used < self.mapped {
            // SAFETY: the range is the end of our mapping, on a huge page's border and so on a page's, and holds no
            // value.
            let released = unsafe { libc::munmap(self.base.add(used).as_ptr().cast(), self.mapped - used) };
            if released == 0 {
                self.mapped = used;
            }
        }
    }

    /// Lets the system take back memory that is not kept for good; until then its pages can be written without a fault.
    fn lend(&self) {
        let kept = self.head() + KEPT_FOR_GOOD;
        if kept < self.mapped {
            // SAFETY: the range is the end of our mapping, on a page's border, and no value in it is needed. A refusal is no
            // fault: the pages then stay ours.
            unsafe { libc::madvise(self.base.add(kept).as_ptr().cast(), self.mapped - kept, libc::MADV_FREE) };
        }
    }

    fn unmap(self) {
        // SAFETY: the mapping is ours, and ends with us.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.mapped) };
    }
}

/// int64 values in a region; it is kept for the next answer, or unmapped, when dropped.
#[derive(Debug)]
pub(super) struct Mapping {
    /// None only while it is dropped.
    region: Option<Region>,
    first: NonNull<i64>,
    /// Number of values written, as far as anybody said.
    len: usize,
}

// SAFETY: the region is owned, and the memory is plain values.
unsafe impl Send for Mapping {}
// SAFETY: shared access only reads.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Takes a region that waits, of any size.
    pub(super) fn waiting() -> Option<Self> {
        // A caller that cannot have the lock at once does without: it may be held across a fork.
        WAITING.try_lock().ok()?.pop().map(Self::of)
    }

    /// Reserves room for `bound` values; None where the system has no such room.
    pub(super) fn reserve(bound: usize) -> Option<Self> {
        Region::map(bound).map(Self::of)
    }

    fn of(region: Region) -> Self {
        Self {
            first: region.first,
            region: Some(region),
            len: 0,
        }
    }

    /// Where the values begin.
    pub(super) const fn first(&self) -> *mut i64 {
        self.first.as_ptr()
    }

    /// Number of values there is room for.
    pub(super) fn capacity(&self) -> usize {
        let bytes = self.region.as_ref().map_or(0, |region| region.mapped - region.head());
        bytes / size_of::<i64>()
    }

    /// Says that `len` values are written, and gives the unused end back to the system.
    ///
    /// # Safety
    ///
    /// They are, and lie within the capacity.
    pub(super) unsafe fn finish(&mut self, len: usize) {
        self.len = len;
        if let Some(region) = &mut self.region
            && region.mapped > KEPT_BYTES
        {
            region.trim(len);
        }
    }

    pub(super) fn values(&self) -> &[i64] {
        // SAFETY: `len` values were written, and nobody writes while they are borrowed.
        unsafe { slice::from_raw_parts(self.first.as_ptr(), self.len) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        let Some(region) = self.region.take() else { return };
        match WAITING.try_lock() {
            Ok(mut waiting) if region.mapped <= KEPT_BYTES && waiting.len() < KEPT => {
                region.lend();
                waiting.push(region);
            }
            _ => region.unmap(),
        }
    }
}
