//! The only module with unsafe code: reads of memory that other threads may write, vector instructions, mappings.
#![allow(unsafe_code)]

#[cfg(target_arch = "x86_64")]
mod avx2;
mod blocks;
mod column;
#[cfg(target_os = "linux")]
mod mapping;
mod values;

#[cfg(test)]
pub(crate) use blocks::Portable;
pub(crate) use blocks::{BLOCK, Blocks, Pass, dispatch};
pub use column::Column;
pub use values::Values;
pub(crate) use values::{BlockWriter, PairsBuilder};
