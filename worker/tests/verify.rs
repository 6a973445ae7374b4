//! The comparison of operations with their portable forms, on the CPU, where the operations are the slice kernels.

#[cfg(test)]
#[path = "support/log.rs"]
mod log;

use std::collections::BTreeSet;

use candle_core::{DType, Device, Result, Tensor};
use glimpse_worker::{
    sdxl::ops::Op,
    verify::{Case, Finding, Form, Output, Scale, Table, Verdict, cases},
};
use log::logged;

#[cfg(test)]
const DTYPES: [DType; 3] = [DType::F32, DType::F16, DType::BF16];
#[cfg(test)]
const SEED: u64 = 3;

#[cfg(test)]
fn table(cases: &[Case]) -> Table {
    Table::of(cases, &Device::Cpu, SEED).unwrap()
}

#[test]
fn every_form_of_the_cpu_agrees_in_every_dtype() {
    for dtype in DTYPES {
        let cases = cases(dtype, Scale::Small);
        let table = table(&cases);
        assert_eq!(table.rows().len(), cases.len());
        for row in table.rows() {
            let Finding::Compared { error, portable, .. } = &row.finding else { panic!("{row:?}") };
            // candle has no product of bf16 matrices on a CPU; the reference is f32.
            assert!(portable.is_some() || dtype == DType::BF16, "{row:?}");
            assert!(*error <= row.tolerance && !row.is_wrong(), "{row:?}");
        }
        assert!(table.wrong().is_empty());
        assert!(Op::ALL.iter().all(|op| table.verdict(*op).is_some() && table.is_own_used(*op)));
    }
}

/// An operation that a GPU's own form does not take is the portable one, which is then compared with itself in f32.
#[test]
fn the_portable_form_is_within_its_own_tolerance() {
    for dtype in [DType::F32, DType::F16] {
        let twins = cases(dtype, Scale::Small).into_iter().zip(cases(dtype, Scale::Small));
        let same: Vec<Case> = twins.map(|(case, twin)| Case { own: twin.portable, ..case }).collect();
        for row in table(&same).rows() {
            assert!(matches!(row.finding, Finding::Compared { .. }) && !row.is_wrong(), "{row:?}");
        }
    }
}

#[test]
fn sdxls_shapes_have_names_of_their_own_and_fit_a_gpu() {
    for dtype in DTYPES {
        let (large, small) = (cases(dtype, Scale::Sdxl), cases(dtype, Scale::Small));
        let ops = |cases: &[Case]| cases.iter().map(|case| (case.op, case.dtype)).collect::<Vec<_>>();
        assert_eq!(ops(&large), ops(&small));
        let ops: BTreeSet<Op> = large.iter().map(|case| case.op).collect();
        assert_eq!(ops, Op::ALL.into());
        let names: BTreeSet<_> =
            large.iter().map(|case| (case.op, &case.shape, case.dtype.as_str())).collect();
        assert_eq!(names.len(), large.len());
        for case in &large {
            let bytes: usize = case.inputs.iter().map(|input| input.count() * 4).sum();
            assert!(bytes <= 2 << 30, "{} at {}: {bytes} bytes", case.op.name(), case.shape);
        }
        let has = |op: Op, shape: &str| large.iter().any(|case| case.op == op && case.shape == shape);
        assert!(has(Op::Conv2d, "2x320x128x128 to 320, 3x3, stride 2"));
        assert!(has(Op::Conv2d, "1x128x1024x1024 to 128, 3x3"));
        assert!(has(Op::Attention, "2x4096x640, 10 heads, 77 keys"));
        assert!(has(Op::Attention, "1x16384x512, 1 heads, 16384 keys"));
        assert!(has(Op::GroupNorm, "2x1280x32x32, eps 1e-6"));
        assert!(has(Op::Geglu, "2x1024x10240"));
    }
}

/// One case of an operation with another form of the device's own.
#[cfg(test)]
fn planted(op: Op, own: impl FnOnce(Form) -> Form) -> Case {
    let mut all = cases(DType::F32, Scale::Small).into_iter().filter(|case| case.op == op);
    let (case, twin) = (all.next().unwrap(), cases(DType::F32, Scale::Small));
    let right = twin.into_iter().find(|twin| twin.op == op).unwrap().portable;
    Case { own: own(right), ..case }
}

/// A form whose last number is another.
#[cfg(test)]
fn with_last(right: Form, change: fn(f32) -> f32) -> Form {
    Box::new(move |inputs| {
        let Output::Tensors(tensors) = right(inputs)? else { candle_core::bail!("no tensor") };
        let changed: Result<Vec<Tensor>> = tensors
            .iter()
            .map(|tensor| {
                let mut values: Vec<f32> = tensor.flatten_all()?.to_vec1()?;
                let last = values.len() - 1;
                values[last] = change(values[last]);
                Tensor::from_vec(values, tensor.dims(), tensor.device())
            })
            .collect();
        Ok(Output::Tensors(changed?))
    })
}

#[test]
fn one_wrong_number_is_found_and_one_that_is_only_rounded_is_not() {
    for op in
        [Op::Conv2d, Op::Attention, Op::GroupNorm, Op::LayerNorm, Op::Geglu, Op::Addends, Op::GuidedStep]
    {
        for (change, is_wrong) in [
            ((|_| f32::NAN) as fn(f32) -> f32, true),
            (|_| f32::INFINITY, true),
            (|v| v + 0.1, true),
            (|v| v * (1.0 + 1e-6), false),
        ] {
            let table = table(&[planted(op, |right| with_last(right, change))]);
            assert_eq!(table.rows()[0].is_wrong(), is_wrong, "{:?}", table.rows());
            assert_eq!(table.wrong(), if is_wrong { vec![op] } else { vec![] });
        }
    }
}

#[test]
fn a_wrong_byte_and_a_wrong_answer_are_found() {
    let pixels = planted(Op::Pixels, |right| {
        Box::new(move |inputs| {
            let Output::Bytes(Some(mut bytes)) = right(inputs)? else { candle_core::bail!("no bytes") };
            bytes[7] ^= 1;
            Ok(Output::Bytes(Some(bytes)))
        })
    });
    let finite = planted(Op::Finite, |_| Box::new(|_| Ok(Output::Flag(false))));
    assert_eq!(table(&[pixels, finite]).wrong(), [Op::Pixels, Op::Finite]);
}

#[test]
fn what_fails_is_wrong_and_without_a_reference_nothing_is_known() {
    fn failing(message: &'static str) -> Form {
        Box::new(move |_| candle_core::bail!("{message}"))
    }
    let own = planted(Op::LayerNorm, |_| failing("no such kernel"));
    let memory = planted(Op::Conv2d, |_| failing("CUDA_ERROR_OUT_OF_MEMORY"));
    let reference = Case { portable: failing("no such shape"), ..planted(Op::Attention, |right| right) };
    let table = table(&[own, memory, reference]);
    let is_wrong: Vec<bool> = table.rows().iter().map(|row| row.is_wrong()).collect();
    assert_eq!(is_wrong, [true, false, false]);
    assert!(matches!(&table.rows()[0].finding, Finding::Failed { message } if message == "no such kernel"));
    assert!(matches!(table.verdict(Op::Conv2d), Some(Verdict::Unknown(_))));
    assert!(matches!(table.verdict(Op::Attention), Some(Verdict::Unknown(_))));
}

/// The only test that changes the switches of this process: those of two operations that no other test asks for.
#[test]
fn a_wrong_operation_is_switched_off_and_a_warning_names_it_its_shape_and_its_error() {
    let geglu = planted(Op::Geglu, |right| with_last(right, |_| 1e3));
    let shape = geglu.shape.clone();
    let norm = planted(Op::GroupNorm, |_| Box::new(|_| candle_core::bail!("no such kernel")));
    let table = table(&[geglu, norm]);
    let ((), lines) = logged(|| table.apply());
    assert!(!Op::Geglu.is_own_used() && !Op::GroupNorm.is_own_used() && Op::Attention.is_own_used());
    assert_eq!(lines.len(), 2, "{lines:?}");
    let error = format!("{:.1e}", table.rows()[0].error().unwrap());
    for part in ["WARN geglu is switched off", &shape, "f32", &error, "2.0e-5", "portable form is used"] {
        assert!(
            lines.iter().any(|line| line.starts_with("WARN geglu") && line.contains(part)),
            "{part}: {lines:?}"
        );
    }
    assert!(lines.iter().any(|line| line.starts_with("WARN group_norm") && line.contains("no such kernel")));
}
