//! Every path against a reference that cannot be wrong: a set of the values present.
#![allow(clippy::unwrap_used)]
// Draws are small numbers; instants are made from bits on purpose.
#![allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap)]

use std::collections::HashSet;

use reconciler_gaps::{
    Column, Disorder, Gaps, Grid, detect, detect_explicit, detect_in_parts, detect_trusted, helpful_threads,
};

/// Of so many rounds one is run: Miri takes a thousand times as long.
const EACH: usize = if cfg!(miri) { 1000 } else { 1 };

/// Runs of expected instants that are not in the set: (start, end, count).
fn reference(timestamps: &[i64], expected: &[i64]) -> Vec<(i64, i64, i64)> {
    let present: HashSet<i64> = timestamps.iter().copied().collect();
    let mut runs: Vec<(i64, i64, i64)> = Vec::new();
    let mut open = false;
    for &instant in expected {
        if present.contains(&instant) {
            open = false;
        } else if open {
            let run = runs.last_mut().unwrap();
            (run.1, run.2) = (instant, run.2 + 1);
        } else {
            runs.push((instant, instant, 1));
            open = true;
        }
    }
    runs
}

fn regular(timestamps: &[i64], grid: &Grid) -> Vec<(i64, i64, i64)> {
    rows(&detect(Column::from(&timestamps.to_vec()), grid), grid)
}

fn rows(gaps: &Gaps, grid: &Grid) -> Vec<(i64, i64, i64)> {
    let rows: Vec<_> = (gaps.starts().iter().zip(gaps.counts()))
        .map(|(&start, &count)| {
            let end = start.wrapping_add_unsigned((count.unsigned_abs() - 1).wrapping_mul(grid.step()));
            (start, end, count)
        })
        .collect();
    assert_eq!(
        u128::from(gaps.missing()),
        rows.iter().map(|row| u128::from(row.2.unsigned_abs())).sum()
    );
    rows
}

fn explicit(timestamps: &[i64], expected: &[i64]) -> Vec<(i64, i64, i64)> {
    let gaps = detect_explicit(Column::from(&timestamps.to_vec()), Column::from(&expected.to_vec())).unwrap();
    (gaps.starts.iter().zip(&gaps.ends[..]).zip(&gaps.counts[..]))
        .map(|((&s, &e), &c)| (s, e, c))
        .collect()
}

/// A small deterministic source of numbers (splitmix64).
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

fn check(timestamps: &[i64], grid: &Grid) {
    let expected: Vec<i64> = (0..grid.len()).map(|index| grid.at(index)).collect();
    let truth = reference(timestamps, &expected);
    assert_eq!(regular(timestamps, grid), truth, "{grid:?} {timestamps:?}");
    let part = 1 + timestamps.len() / (2 + timestamps.len() % 5);
    let column = timestamps.to_vec();
    let in_parts = rows(&detect_in_parts(Column::from(&column), grid, 2, part), grid);
    assert_eq!(in_parts, truth, "parts of {part}: {grid:?} {timestamps:?}");
    assert_eq!(
        explicit(timestamps, &expected),
        truth,
        "explicit {grid:?} {timestamps:?}"
    );
}

/// Mutates a complete series: loses, doubles, shifts and strays, then perhaps disorders it.
fn example(draw: &mut Draw) -> (Vec<i64>, Grid) {
    let len = [0, 1, 2, 63, 64, 65, 127, 128, 129, 300, 1000][draw.below(11) as usize];
    let step = [1, 2, 3, 60_000, 60_000, 86_400_000, (1 << 40) + 1][draw.below(7) as usize];
    let span = len * step;
    let start = match draw.below(4) {
        0 => i64::MIN,
        1 => (i128::from(i64::MAX) - i128::from(span)) as i64,
        _ => draw.below(1 << 40) as i64 - (1 << 39),
    };
    let grid = Grid::new(start, step, len).unwrap();
    let rarely = [0, 1, 5, 50][draw.below(4) as usize];
    let mut timestamps = Vec::new();
    let mut index = 0;
    while index < len {
        if draw.below(100) < rarely {
            index += [1, 1, 2, 64, 200][draw.below(5) as usize];
            continue;
        }
        let instant = grid.at(index);
        timestamps.push(instant);
        match draw.below(100) {
            0..2 if rarely > 1 => timestamps.push(instant),
            2..4 if rarely > 1 => timestamps.push(instant.saturating_add(1)),
            4 if rarely > 1 => timestamps.push(instant.wrapping_add_unsigned(step * 70)),
            5 if rarely > 1 => timestamps.push(i64::MIN),
            6 if rarely > 1 => timestamps.push(i64::MAX),
            _ => {}
        }
        index += 1;
    }
    match draw.below(6) {
        0 => {}
        1 => timestamps.reverse(),
        2 => (1..timestamps.len()).for_each(|i| timestamps.swap(i, draw.below(i as u64 + 1) as usize)),
        3 => timestamps.chunks_mut(100).for_each(<[i64]>::reverse),
        _ => timestamps.sort_unstable(),
    }
    (timestamps, grid)
}

#[test]
fn agrees_on_mutated_series() {
    let mut draw = Draw(20_240_601);
    for _ in (0..20_000).step_by(EACH) {
        let (timestamps, grid) = example(&mut draw);
        check(&timestamps, &grid);
    }
}

/// Stretches of several blocks that are each taken in their own way: scattered points, repetitions, strangers.
#[test]
#[cfg_attr(miri, ignore = "takes Miri minutes; the other tests take the same paths")]
fn agrees_on_a_single_change_anywhere_in_a_stretch() {
    let grid = Grid::new(-1000, 6, 600).unwrap();
    let last = grid.last();
    let stretches: [Vec<i64>; 7] = [
        (0..200).map(|index| grid.at(2 * index)).collect(),
        (0..200).map(|index| grid.at(3 * index - index % 2)).collect(),
        (0..300).map(|index| grid.at(index / 2)).collect(),
        (0..300).map(|index| grid.at(index / 3 + index / 100)).collect(),
        (0..250).map(|index| grid.at(index) + 2).collect(),
        (0..300).map(|index| grid.at(index / 2) + 4).collect(),
        (0..257).map(|index| grid.at(2 * index) + 3).collect(),
    ];
    for stretch in &stretches {
        for at in 1..stretch.len() {
            let before = stretch[at - 1];
            for value in [
                before,
                before + 1,
                before + 6,
                before - 6,
                grid.at(at as u64),
                last,
                last + 6,
                i64::MAX,
            ] {
                let mut timestamps = stretch.clone();
                timestamps[at] = value;
                check(&timestamps, &grid);
                timestamps.sort_unstable();
                check(&timestamps, &grid);
            }
        }
    }
}

/// Two points can be nearly the whole range apart: a descent by that much must not pass for a step ahead.
#[test]
fn wide_descents_among_scattered_points_are_descents() {
    let step = 1_u64 << 55;
    let grid = Grid::new(i64::MIN, step, 440).unwrap();
    for at in (1..210).step_by(13) {
        for fall in (1..=at).step_by(EACH.min(83)) {
            let mut timestamps: Vec<i64> = (0..210).map(|index| grid.at(2 * index)).collect();
            timestamps[at] = timestamps[at - fall];
            check(&timestamps, &grid);
        }
    }
}

#[test]
fn trusted_agrees_where_the_promise_holds() {
    let mut draw = Draw(11);
    for _ in (0..3_000).step_by(EACH) {
        let len = 1 + draw.below(3000);
        let step = [1, 7, 60_000, (1 << 40) + 1][draw.below(4) as usize];
        let start = if draw.below(2) == 0 {
            i64::MIN
        } else {
            -((len * step) as i64) / 2
        };
        let grid = Grid::new(start, step, len).unwrap();
        let holes: HashSet<u64> = (0..draw.below(6)).map(|_| draw.below(len)).collect();
        let timestamps: Vec<i64> = (0..len).filter(|k| !holes.contains(k)).map(|k| grid.at(k)).collect();
        let trusted = detect_trusted(Column::from(&timestamps), &grid, 1);
        assert_eq!(trusted, detect(Column::from(&timestamps), &grid));
    }
}

#[test]
#[cfg(not(debug_assertions))]
fn a_broken_promise_ends_all_the_same() {
    let mut draw = Draw(13);
    for _ in (0..2_000).step_by(EACH) {
        let grid = Grid::new(-50, 1 + draw.below(3), 1 + draw.below(2000)).unwrap();
        let timestamps: Vec<i64> = (0..draw.below(2000)).map(|_| draw.below(3000) as i64 - 100).collect();
        let gaps = detect_trusted(Column::from(&timestamps), &grid, 1);
        assert!(gaps.len() <= timestamps.len() + 2);
    }
}

#[test]
#[cfg(debug_assertions)]
#[should_panic(expected = "trusted timestamps must be sorted, unique and on the grid")]
fn a_broken_promise_is_found_by_a_debug_build() {
    let grid = Grid::new(0, 1, 10).unwrap();
    let _ = detect_trusted(Column::from(&vec![1, 1]), &grid, 1);
}

#[test]
fn threads_are_as_many_as_help() {
    let worth = 1 << 21;
    assert_eq!(helpful_threads(2 * worth - 1, 8), 1);
    assert_eq!(helpful_threads(2 * worth, 8), 2);
    assert_eq!(helpful_threads(100 * worth, 8), 8);
    assert_eq!(helpful_threads(100 * worth, 1), 1);
    let most = std::thread::available_parallelism().unwrap().get();
    assert_eq!(helpful_threads(usize::MAX, 0), most);
    assert_eq!(helpful_threads(0, 0), 1);
}

/// Borders of parts at each place of a long gap, a long repetition, and among strangers.
#[test]
fn gaps_over_borders_are_joined() {
    let grid = Grid::new(i64::MIN + 5, 7, 900).unwrap();
    let dense = 0..300;
    let shapes: [Vec<i64>; 4] = [
        dense
            .clone()
            .filter(|&index| index % 150 == 0)
            .map(|index| grid.at(index))
            .collect(),
        dense
            .clone()
            .map(|index| grid.at(index.min(140) + index.saturating_sub(190)))
            .collect(),
        dense.clone().map(|index| grid.at(450 + index / 40) + 3).collect(),
        dense
            .map(|index| grid.at(3 * index) + i64::from(index % 50 > 1))
            .collect(),
    ];
    for values in &shapes {
        let whole = detect(Column::from(values), &grid);
        for part in (0..=values.len() + 2).step_by(7 * EACH.min(9)) {
            assert_eq!(
                detect_in_parts(Column::from(values), &grid, 2, part),
                whole,
                "parts of {part}: {values:?}"
            );
        }
    }
}

#[test]
fn agrees_on_noise() {
    let mut draw = Draw(7);
    for _ in (0..5_000).step_by(EACH) {
        let grid = Grid::new(draw.next() as i64 >> 2, 1 + draw.below(5), draw.below(80)).unwrap();
        let count = draw.below(100);
        let timestamps: Vec<i64> = (0..count).map(|_| grid.start() - 20 + draw.below(400) as i64).collect();
        check(&timestamps, &grid);
    }
}

#[test]
fn every_subset_of_a_small_grid() {
    let grid = Grid::new(-30, 10, 9).unwrap();
    for chosen in (0..1u32 << 9).step_by(EACH.min(59)) {
        let timestamps: Vec<i64> = (0..9)
            .filter(|bit| chosen >> bit & 1 == 1)
            .map(|bit| grid.at(bit))
            .collect();
        check(&timestamps, &grid);
    }
}

#[test]
fn agrees_on_uneven_grids() {
    let mut draw = Draw(17);
    for _ in (0..3_000).step_by(EACH) {
        let len = draw.below(300);
        let mut expected: Vec<i64> = Vec::new();
        let mut instant = if draw.below(4) == 0 { i64::MIN } else { -1000 };
        for _ in 0..len {
            expected.push(instant);
            instant += if draw.below(50) == 0 {
                2 + draw.below(9) as i64
            } else {
                5
            };
        }
        let mut timestamps: Vec<i64> = expected.iter().copied().filter(|_| draw.below(10) > 0).collect();
        timestamps.extend((0..draw.below(5)).map(|_| draw.next() as i64));
        if draw.below(2) == 0 {
            timestamps.sort_unstable();
        }
        assert_eq!(explicit(&timestamps, &expected), reference(&timestamps, &expected));
        let last = expected.last().copied().unwrap_or(0);
        for spoilt in [last, i64::MIN] {
            let disordered: Vec<i64> = expected.iter().copied().chain([last, spoilt]).collect();
            let found = detect_explicit(Column::from(&timestamps), Column::from(&disordered));
            let index = (1..disordered.len())
                .find(|&at| disordered[at] <= disordered[at - 1])
                .unwrap();
            assert_eq!(found, Err(Disorder { index }));
        }
    }
}

#[test]
fn memory_follows_the_input_not_the_grid() {
    let grid = Grid::new(i64::MIN, 2, i64::MAX.unsigned_abs()).unwrap();
    assert_eq!(regular(&[], &grid), [(i64::MIN, grid.last(), i64::MAX)]);
    let rows = regular(&[4, 0, 2], &grid);
    assert_eq!(rows, [(i64::MIN, -2, 1 << 62), (6, grid.last(), (1 << 62) - 4)]);
}

/// Descends only by wrapping around from the end of int64 to its start, one step at a time, and ends within the grid.
#[test]
fn steps_past_the_end_of_int64_are_descents() {
    for behind in [0, 1, 10, 62, 63, 64, 65, 66, 127, 128, 129, 200]
        .into_iter()
        .step_by(EACH.min(5))
    {
        let grid = Grid::new(i64::MAX - behind - 400, 1, 401).unwrap();
        for ahead in [
            behind,
            behind + 1,
            behind + 60,
            behind + 64,
            behind + 65,
            behind + 130,
            behind + 200,
        ] {
            for wrapped in [1, 2, 40, 64, 100, 130].into_iter().step_by(EACH.min(5)) {
                let mut timestamps: Vec<i64> = (i64::MAX - ahead..=i64::MAX).collect();
                timestamps.extend(i64::MIN..i64::MIN + wrapped);
                timestamps.extend(grid.start() + 10..grid.start() + 90);
                check(&timestamps, &grid);
            }
        }
    }
    let grid = Grid::new(0, 1, i64::MAX.unsigned_abs() - 100).unwrap();
    let timestamps: Vec<i64> = [0, 1000, i64::MAX - 2, i64::MAX - 1, i64::MAX, i64::MIN, i64::MIN + 1]
        .into_iter()
        .chain(1001..=1100)
        .collect();
    let truth = [(1, 999, 999), (1101, grid.last(), grid.last() - 1100)];
    assert_eq!(regular(&timestamps, &grid), truth);
}

#[test]
fn steps_beyond_int64() {
    let grid = Grid::new(i64::MIN, u64::MAX, 2).unwrap();
    assert_eq!(regular(&[i64::MAX], &grid), [(i64::MIN, i64::MIN, 1)]);
    assert_eq!(regular(&[i64::MIN, 0], &grid), [(i64::MAX, i64::MAX, 1)]);
    let halves = Grid::new(-(1 << 62), 1 << 62, 3).unwrap();
    assert_eq!(regular(&[0, 0, 1 << 62], &halves), [(-(1 << 62), -(1 << 62), 1)]);
}

#[test]
fn explicit_grid_must_increase() {
    let disorder = detect_explicit(Column::from(&vec![]), Column::from(&vec![1, 2, 2]));
    assert_eq!(disorder, Err(Disorder { index: 2 }));
    assert_eq!(
        disorder.unwrap_err().to_string(),
        "expected instants do not increase at index 2"
    );
}
