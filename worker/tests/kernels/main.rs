//! The GPU kernels of `worker/kernels`, compiled as C++ and played thread by thread on the CPU, against the worker's CPU
//! operations; and damaged copies of them, each of which must be found. It needs g++ and no GPU.

#[cfg(test)]
mod catalogue;
#[cfg(test)]
mod close;
#[cfg(test)]
mod elementwise;
#[cfg(test)]
mod emulation;
#[cfg(test)]
mod far;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod grids;
#[cfg(test)]
mod launch;
#[cfg(test)]
mod norms;
#[cfg(test)]
mod pictures;
#[cfg(test)]
mod program;
#[cfg(test)]
mod sampling;

use catalogue::{KERNELS, kernel};

#[track_caller]
#[cfg(test)]
fn assert_right(name: &str) {
    let kernel = kernel(name);
    if let Err(found) = (kernel.check)(&kernel.program()) {
        panic!("{name}.cu: {found}");
    }
}

#[test]
fn group_norm_is_that_of_the_cpu() {
    assert_right("group_norm");
}

#[test]
fn layer_norm_is_that_of_the_cpu() {
    assert_right("layer_norm");
}

#[test]
fn geglu_is_that_of_the_cpu() {
    assert_right("geglu");
}

#[test]
fn bias_and_residual_are_added_as_on_the_cpu() {
    assert_right("bias_residual");
}

#[test]
fn a_step_with_guidance_is_that_of_the_samplers() {
    assert_right("guidance_step");
}

#[test]
fn pixels_are_those_of_the_cpu() {
    assert_right("pixels");
}

#[test]
fn what_is_not_finite_is_found() {
    assert_right("finite");
}

#[test]
fn every_kernel_has_a_test() {
    let folder = std::fs::read_dir(program::sources()).expect("the kernels");
    let names = folder.map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"));
    let mut sources: Vec<_> = names.filter_map(|name| Some(name.strip_suffix(".cu")?.to_owned())).collect();
    let mut tested: Vec<_> = KERNELS.iter().map(|kernel| kernel.name.to_owned()).collect();
    sources.sort();
    tested.sort();
    assert_eq!(sources, tested);
}
