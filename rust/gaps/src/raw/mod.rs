//! The only module with unsafe code: memory that others may write, and memory for large answers.
#![allow(unsafe_code)]

mod column;

pub use column::Column;
