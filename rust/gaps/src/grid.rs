//! The regular grid: `len` instants, `step` apart.

use std::error::Error;
use std::fmt;

/// The instants `start + k * step` for `k` in `0..len`, all of them int64 values.
///
/// The constructor checks this, so that later arithmetic cannot overflow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    start: i64,
    step: u64,
    len: u64,
    /// Multiplicative inverse of the odd part of `step`, modulo 2^64.
    inverse: u64,
    /// Number of factors of two in `step`.
    shift: u32,
}

impl Grid {
    /// Returns the grid of `len` points, `step` apart, the first of which is `start`.
    ///
    /// The step may exceed `i64::MAX`, since two int64 values can be that far apart.
    ///
    /// # Errors
    ///
    /// [`GridError`] if `step` is zero, if there are more than `i64::MAX` points, or if the last point exceeds int64.
    pub fn new(start: i64, step: u64, len: u64) -> Result<Self, GridError> {
        if step == 0 {
            return Err(GridError::ZeroStep);
        }
        if len > i64::MAX.unsigned_abs() {
            return Err(GridError::TooManyPoints { len });
        }
        (len.saturating_sub(1))
            .checked_mul(step)
            .and_then(|span| start.checked_add_unsigned(span))
            .ok_or(GridError::PastInt64 { start, step, len })?;
        let shift = step.trailing_zeros();
        Ok(Self {
            start,
            step,
            len,
            inverse: inverse_of_odd(step >> shift),
            shift,
        })
    }

    /// First instant of the grid, also if the grid is empty.
    #[must_use]
    pub const fn start(&self) -> i64 {
        self.start
    }

    /// Distance of neighbouring points, at least 1.
    #[must_use]
    pub const fn step(&self) -> u64 {
        self.step
    }

    /// Number of instants, at most `i64::MAX`.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// Whether the grid has no instant.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The instant at `index`. For an index past the end, the value is meaningless, but there is no panic.
    #[must_use]
    #[inline]
    pub const fn at(&self, index: u64) -> i64 {
        self.start.wrapping_add_unsigned(index.wrapping_mul(self.step))
    }

    /// The last instant. On an empty grid the value is meaningless, but there is no panic.
    #[must_use]
    pub const fn last(&self) -> i64 {
        self.at(self.len.wrapping_sub(1))
    }

    /// The index of `instant`, or some number of at least [`Grid::len`] if it is not on the grid.
    ///
    /// One multiplication decides both range and divisibility. Multiplying the distance from `start` by the inverse of
    /// the odd part, and rotating by the power of two, is an exact division if `step` divides the distance. Otherwise
    /// it gives more than `u64::MAX / step`, hence at least `len`. For an instant before `start` the distance wraps to
    /// at least `2^63 - start`, which is past the last point.
    #[must_use]
    #[inline]
    pub const fn index_of(&self, instant: i64) -> u64 {
        self.steps(instant.wrapping_sub(self.start).cast_unsigned())
    }

    /// Number of points before `instant`, which must be within the grid's bounds.
    pub(crate) const fn points_before(&self, instant: i64) -> u64 {
        instant.wrapping_sub(self.start).cast_unsigned().div_ceil(self.step)
    }

    /// The grid of the points with indices in `from..to`, if there are any.
    pub(crate) fn part(&self, from: u64, to: u64) -> Option<Self> {
        (from < to && to <= self.len).then(|| Self {
            start: self.at(from),
            len: to - from,
            ..*self
        })
    }

    /// `distance / step` if `step` divides it, else a number above `u64::MAX / step`.
    #[inline]
    pub(crate) const fn steps(&self, distance: u64) -> u64 {
        distance.wrapping_mul(self.inverse).rotate_right(self.shift)
    }
}

/// Inverse modulo 2^64 by Newton's iteration. It starts with five correct bits, and each round doubles their number.
const fn inverse_of_odd(odd: u64) -> u64 {
    let mut inverse = odd.wrapping_mul(3) ^ 2;
    let mut round = 0;
    while round < 4 {
        inverse = inverse.wrapping_mul(2u64.wrapping_sub(odd.wrapping_mul(inverse)));
        round += 1;
    }
    inverse
}

/// Reason why a grid cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GridError {
    /// The step is zero.
    ZeroStep,
    /// There are more than `i64::MAX` points, so their number does not fit int64.
    TooManyPoints {
        /// The requested number of points.
        len: u64,
    },
    /// The last point does not fit int64.
    PastInt64 {
        /// The requested first point.
        start: i64,
        /// The requested step.
        step: u64,
        /// The requested number of points.
        len: u64,
    },
}

impl fmt::Display for GridError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ZeroStep => write!(formatter, "grid step is 0; it must be at least 1"),
            Self::TooManyPoints { len } => {
                write!(formatter, "grid has {len} points; at most {} are allowed", i64::MAX)
            }
            Self::PastInt64 { start, step, len } => {
                write!(formatter, "grid of {len} points from {start} by {step} leaves int64")
            }
        }
    }
}

impl Error for GridError {}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_leaves_int64() {
        assert_eq!(Grid::new(0, 0, 1), Err(GridError::ZeroStep));
        assert_eq!(Grid::new(0, 1, 1 << 63), Err(GridError::TooManyPoints { len: 1 << 63 }));
        let past = GridError::PastInt64 {
            start: i64::MAX,
            step: 1,
            len: 2,
        };
        assert_eq!(Grid::new(i64::MAX, 1, 2), Err(past));
        assert!(Grid::new(i64::MAX, u64::MAX, 1).is_ok());
        assert!(Grid::new(i64::MIN, u64::MAX, 2).is_ok());
        assert!(Grid::new(i64::MIN, u64::MAX, 3).is_err());
    }

    #[test]
    fn index_is_exact_at_the_edges_of_int64() {
        let steps = [1, 2, 3, 7, 60_000, 1 << 40, (1 << 62) + 1, 1 << 63, u64::MAX];
        let starts = [i64::MIN, -1, 0, 1, i64::MAX - 1, i64::MAX];
        let probes = [
            i64::MIN,
            i64::MIN + 1,
            -60_000,
            -1,
            0,
            1,
            59_999,
            60_000,
            i64::MAX - 1,
            i64::MAX,
        ];
        for step in steps {
            for start in starts {
                for len in [1, 2, 5, 1000] {
                    let Ok(grid) = Grid::new(start, step, len) else {
                        continue;
                    };
                    for probe in probes {
                        let distance = i128::from(probe) - i128::from(start);
                        let (quotient, rest) = (distance / i128::from(step), distance % i128::from(step));
                        let on_grid = distance >= 0 && rest == 0 && quotient < i128::from(len);
                        let index = grid.index_of(probe);
                        assert_eq!(index < len, on_grid, "{grid:?} {probe}");
                        if on_grid {
                            assert_eq!(i128::from(index), quotient);
                            assert_eq!(grid.at(index), probe);
                        }
                    }
                }
            }
        }
    }
}
