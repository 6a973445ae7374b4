//! The grids of launches: within the limits of every GPU, and what the kernels' heads ask for at SDXL's sizes.

use glimpse_worker::sdxl::ops::LinearStep;
use glimpse_worker::sdxl::ops::kernels::{self, Function, Grid, GroupNorm, Launch};

const STEP: LinearStep = LinearStep { a: 1.0, b: 1.0, c: 1.0, d: 1.0 };

fn grid(x: usize, y: usize, threads: usize) -> Grid {
    Grid { x, y, threads }
}

#[test]
fn grids_of_sdxl() {
    // The first norm of the UNet at 1024x1024 with guidance: 64 groups of 10 channels of 128x128.
    let unet = GroupNorm { batch: 2, channels: 320, groups: 32, area: 128 * 128 };
    assert_eq!(unet.splits(), 20);
    let apply = |norm: &GroupNorm| norm.apply(norm.splits(), [(); 5], 1e-5, true).expect("a grid").grid;
    let statistics = |norm: &GroupNorm| norm.statistics(norm.splits(), (), ()).expect("a grid").grid;
    assert_eq!((statistics(&unet), apply(&unet)), (grid(20, 64, 256), grid(640, 8, 256)));
    // The last of the VAE.
    let vae = GroupNorm { batch: 1, channels: 128, groups: 32, area: 1 << 20 };
    assert_eq!((statistics(&vae), apply(&vae)), (grid(32, 32, 256), grid(128, 512, 256)));

    let layer_norm = |rows, width| kernels::layer_norm([(); 4], rows, width, 1e-5).expect("a grid").grid;
    assert_eq!(layer_norm(2 * 1024, 1280), grid(2048, 1, 160));
    assert_eq!(layer_norm(77, 768), grid(77, 1, 96));
    assert_eq!(kernels::geglu((), (), 2 * 1024, 5120).grid, grid(2048, 3, 224));
    assert_eq!(kernels::bias_residual([(); 3], None, [2, 640, 64 * 64]).grid, grid(1280, 2, 256));
    assert_eq!(kernels::bias_residual([(); 3], Some(()), [2 * 1024, 1280, 1]).grid, grid(2048, 1, 160));
    assert_eq!(kernels::pixels((), (), (), 1, 1 << 20).grid, grid(1, 1024, 256));
    assert_eq!(kernels::finite((), (), 4 * 128 * 128).grid, grid(1, 8, 256));
    assert_eq!(kernels::guidance_step([(); 4], None, 4 * 128 * 128, 7.5, STEP).grid, grid(1, 64, 256));
}

/// The block is of whole warps where threads of a warp must all be there, and nothing is more than a GPU allows.
fn assert_possible(launch: &Launch<()>) {
    let Grid { x, y, threads } = launch.grid;
    let is_grid = (1..1 << 31).contains(&x) && (1..=65_535).contains(&y);
    assert!(is_grid && (32..=256).contains(&threads) && threads.is_multiple_of(32), "{launch:?}");
    let room = if launch.function == Function::GroupNormStatistics { 32 } else { usize::MAX };
    assert!(x <= room, "{launch:?}");
}

#[test]
fn every_size_has_a_possible_grid_or_none() {
    let sizes = [1, 2, 31, 37, 255, 2048, 2049, 65_535, 65_536, 1 << 20, (1 << 31) + 1, 1 << 40];
    for a in sizes {
        assert_possible(&kernels::finite((), (), a));
        assert_possible(&kernels::guidance_step([(); 4], Some(()), a, 1.0, STEP));
        for b in sizes {
            assert_possible(&kernels::geglu((), (), a, b));
            assert_possible(&kernels::bias_residual([(); 3], None, [a, b, 1]));
            assert_possible(&kernels::pixels((), (), (), a, b));
            let norm = kernels::layer_norm([(); 4], a, b, 1e-5);
            assert_eq!(norm.is_some(), a < 1 << 31);
            norm.iter().for_each(assert_possible);
            for (batch, channels, groups) in [(1, 32, 32), (2048, 32, 32), (3, 5, 1), (1 << 26, 64, 1)] {
                let norm = GroupNorm { batch, channels, groups, area: a };
                let statistics = norm.statistics(norm.splits(), (), ());
                let apply = norm.apply(norm.splits(), [(); 5], 1e-5, false);
                assert_eq!(statistics.is_some(), batch * groups <= 65_535, "{norm:?}");
                assert_eq!(apply.is_some(), batch * channels < 1 << 31, "{norm:?}");
                statistics.iter().chain(&apply).for_each(assert_possible);
            }
        }
        assert_possible(&kernels::bias_residual([(); 3], Some(()), [2, 3, a]));
    }
}
