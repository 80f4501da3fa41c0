//! Compares every path of the detector with a simple reference, on arbitrary bytes.
//!
//! The bytes are a program: a grid, then operations that append timestamps (runs along the grid, repetitions,
//! strangers, raw values), and finally an order for them. So the fuzzer finds long regular stretches, for which the
//! block pass is made, as easily as noise.

#![no_main]

use std::collections::HashSet;

use libfuzzer_sys::fuzz_target;
use reconciler_gaps::{Column, Grid, detect, detect_explicit, detect_in_parts, detect_trusted};

struct Program<'a>(&'a [u8]);

impl Program<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn word(&mut self) -> Option<u64> {
        let (first, rest) = self.0.split_first_chunk::<8>()?;
        self.0 = rest;
        Some(u64::from_le_bytes(*first))
    }
}

fn grid(program: &mut Program<'_>) -> Option<Grid> {
    let len = u64::from(program.byte()?) * u64::from(program.byte()? % 8);
    let step = match program.byte()? % 6 {
        0 => 1,
        1 => 60_000,
        2 => 1 << (program.byte()? % 64),
        3 => u64::MAX,
        _ => program.word()?,
    };
    let span = len.saturating_sub(1).checked_mul(step)?;
    let start = match program.byte()? % 5 {
        0 => i64::MIN,
        1 => i64::MAX.checked_sub_unsigned(span)?,
        2 => 0,
        _ => program.word()?.cast_signed(),
    };
    Grid::new(start, step, len).ok()
}

fn timestamps(program: &mut Program<'_>, grid: &Grid) -> Option<Vec<i64>> {
    let mut values = Vec::new();
    let mut at = 0u64;
    while let Some(operation) = program.byte() {
        let many = u64::from(operation >> 3) * 9 + 1;
        match operation % 8 {
            0 | 1 => {
                values.extend((at..at.saturating_add(many)).map(|index| grid.at(index)));
                at = at.saturating_add(many);
            }
            2 => at = at.saturating_add(many),
            3 => values.extend_from_slice(&vec![*values.last().unwrap_or(&0); many as usize]),
            4 => values.push(values.last().unwrap_or(&0).wrapping_add(i64::from(operation))),
            5 => values.push(program.word()?.cast_signed()),
            6 => at = u64::from(program.byte()?),
            _ => values.reverse(),
        }
        if values.len() > 5000 {
            break;
        }
    }
    Some(values)
}

/// Returns the runs of expected instants that are not present: (start, end, count).
fn reference(present: &HashSet<i64>, expected: &[i64]) -> Vec<(i64, i64, i64)> {
    let mut runs: Vec<(i64, i64, i64)> = Vec::new();
    let mut open = false;
    for &instant in expected {
        let missing = !present.contains(&instant);
        if missing && open {
            let last = runs.len() - 1;
            runs[last] = (runs[last].0, instant, runs[last].2 + 1);
        } else if missing {
            runs.push((instant, instant, 1));
        }
        open = missing;
    }
    runs
}

fuzz_target!(|bytes: &[u8]| {
    let mut program = Program(bytes);
    let Some(order) = program.byte() else { return };
    let Some(grid) = grid(&mut program) else { return };
    let Some(mut values) = timestamps(&mut program, &grid) else { return };
    match order % 4 {
        0 => values.sort_unstable(),
        1 => values.sort_unstable_by(|left, right| right.cmp(left)),
        _ => {}
    }
    let present: HashSet<i64> = values.iter().copied().collect();
    let expected: Vec<i64> = (0..grid.len()).map(|index| grid.at(index)).collect();
    let truth = reference(&present, &expected);

    let rows = |gaps: reconciler_gaps::Gaps| -> Vec<(i64, i64, i64)> {
        assert_eq!(gaps.missing(), gaps.counts().iter().map(|count| count.unsigned_abs()).sum::<u64>());
        (gaps.starts().iter().zip(gaps.counts()))
            .map(|(&start, &count)| {
                let steps = count.unsigned_abs() - 1;
                (start, start.wrapping_add_unsigned(steps.wrapping_mul(grid.step())), count)
            })
            .collect()
    };
    assert_eq!(rows(detect(Column::from(&values), &grid)), truth);
    // Threads are used rarely, because starting one takes as long as everything else.
    let (threads, part) = (1 + usize::from(order >> 6 == 3), usize::from(order >> 2 & 15) * 9);
    assert_eq!(rows(detect_in_parts(Column::from(&values), &grid, threads, part)), truth);

    let gaps = detect_explicit(Column::from(&values), Column::from(&expected)).expect("it increases");
    let explicit: Vec<_> =
        gaps.starts.iter().zip(&gaps.ends[..]).zip(&gaps.counts[..]).map(|((&start, &end), &count)| (start, end, count)).collect();
    assert_eq!(explicit, truth);

    // The promise: sorted, unique, on the grid.
    let mut trusted: Vec<i64> = present.into_iter().filter(|&value| grid.index_of(value) < grid.len()).collect();
    trusted.sort_unstable();
    assert_eq!(rows(detect_trusted(Column::from(&trusted), &grid, 1)), truth);
});
