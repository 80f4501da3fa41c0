//! The lifeline: ends this process when its parent has ended, even while the interpreter is busy.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::RawFd;
use std::ptr;
use std::thread;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

#[pyfunction]
#[pyo3(signature = (fd, exit_code, /))]
pub fn watch_lifeline(fd: RawFd, exit_code: i32) -> PyResult<()> {
    if !(0..=255).contains(&exit_code) {
        return Err(PyValueError::new_err(format!(
            "exit_code {exit_code} is not within 0..255"
        )));
    }
    // SAFETY: no memory is passed. The thread gets its own descriptor, so it keeps its file even if the caller closes
    // or reuses the number.
    let own = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 0) };
    if own < 0 {
        return Err(io::Error::last_os_error().into());
    }
    without_signals(|| {
        thread::Builder::new()
            .name("lifeline".into())
            .spawn(move || watch(own, exit_code))
    })?;
    Ok(())
}

/// Runs `work` with all signals blocked, so that a thread that it starts never receives signals for the interpreter.
fn without_signals<T>(work: impl FnOnce() -> T) -> T {
    let mut all = MaybeUninit::<libc::sigset_t>::uninit();
    let mut before = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: both sets are local and large enough. sigfillset initialises the first, pthread_sigmask the second, and
    // neither call can fail with these arguments.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr());
    }
    let result = work();
    // SAFETY: `before` was filled in above.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), ptr::null_mut()) };
    result
}

/// Reads and discards data until the other end is closed or fails, then ends the process without any cleanup.
fn watch(fd: RawFd, exit_code: i32) {
    let mut discarded = [0u8; 512];
    loop {
        // SAFETY: the buffer is local and has the given length.
        let read = unsafe { libc::read(fd, discarded.as_mut_ptr().cast(), discarded.len()) };
        if read > 0 {
            continue;
        }
        let error = io::Error::last_os_error();
        match error.kind() {
            io::ErrorKind::Interrupted if read < 0 => {}
            // The caller's event loop may have made the file non-blocking; this affects duplicates of the descriptor.
            io::ErrorKind::WouldBlock if read < 0 => wait_readable(fd),
            // SAFETY: _exit accesses no memory and does not return. It runs no destructors and no atexit handlers.
            _ => unsafe { libc::_exit(exit_code) },
        }
    }
}

/// Waits until a read would not block. The result is ignored, because the next read shows the state.
fn wait_readable(fd: RawFd) {
    let mut poll = libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: one record is passed, and the given number of records is 1.
    unsafe { libc::poll(&raw mut poll, 1, -1) };
}
