//! `cargo bench -p reconciler-gaps`: detection for the named workloads at a million grid points, and for comparison a
//! plain sum of the same values.
#![allow(missing_docs, clippy::unwrap_used)]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use reconciler_gaps::{Column, Grid, detect, detect_explicit, detect_trusted};

const POINTS: u64 = 1_000_000;
const STEP: i64 = 60_000;

fn full() -> Vec<i64> {
    (0..POINTS.cast_signed()).map(|index| index * STEP).collect()
}

/// Removes about one value in `share`, chosen by a hash of its index.
fn thinned(share: u64) -> Vec<i64> {
    let keep = |index: u64| {
        !index
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_right(32)
            .is_multiple_of(share)
    };
    (0..POINTS)
        .filter(|&index| keep(index))
        .map(|index| index.cast_signed() * STEP)
        .collect()
}

fn shapes() -> Vec<(&'static str, Vec<i64>)> {
    let pages: Vec<i64> = full().chunks(1000).rev().flatten().copied().collect();
    let mut shuffled = full();
    shuffled.sort_by_key(|value| (value / STEP).wrapping_mul(0x1234_5678_9abc_def1));
    vec![
        ("none", full()),
        ("rand0.1", thinned(1000)),
        ("rand10", thinned(10)),
        ("dups", full().into_iter().flat_map(|value| [value, value]).collect()),
        ("alt", full().into_iter().step_by(2).collect()),
        ("offgrid", full().into_iter().map(|value| value + 1).collect()),
        ("pages", pages),
        ("shuffled", shuffled),
        ("reversed", full().into_iter().rev().collect()),
    ]
}

fn by_shape(criterion: &mut Criterion) {
    let grid = Grid::new(0, STEP.unsigned_abs(), POINTS).unwrap();
    let mut group = criterion.benchmark_group("detect");
    for (name, values) in shapes() {
        group.throughput(Throughput::Elements(values.len() as u64));
        group.bench_with_input(BenchmarkId::new("sum", name), &values, |bencher, values| {
            bencher.iter(|| black_box(values).iter().copied().fold(0, i64::wrapping_add));
        });
        group.bench_with_input(BenchmarkId::new("gaps", name), &values, |bencher, values| {
            bencher.iter(|| detect(Column::from(black_box(values)), &grid));
        });
    }
    group.finish();
}

fn by_promise(criterion: &mut Criterion) {
    let grid = Grid::new(0, STEP.unsigned_abs(), POINTS).unwrap();
    let (complete, sparse) = (full(), thinned(1000));
    criterion.bench_function("trusted/none", |bencher| {
        bencher.iter(|| detect_trusted(Column::from(black_box(&complete)), &grid, 1));
    });
    criterion.bench_function("trusted/rand0.1", |bencher| {
        bencher.iter(|| detect_trusted(Column::from(black_box(&sparse)), &grid, 1));
    });
    criterion.bench_function("explicit/rand0.1", |bencher| {
        bencher.iter(|| detect_explicit(Column::from(black_box(&sparse)), Column::from(&complete)));
    });
}

criterion_group!(benches, by_shape, by_promise);
criterion_main!(benches);
