//! Simulates the pipeline's thread: serves orders in virtual time. A job's prompt names what goes wrong.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use glimpse_worker::{
    engine::{Made, Order},
    pipeline::{Description, PipelineError, Rgb, StepProgress},
    runner::index,
};
use tokio::{
    sync::mpsc::UnboundedReceiver,
    time::{Instant, sleep},
};

use super::{chance::Chance, wire::Process, world::World};

/// What goes wrong with a job, by its prompt.
pub const MISHAPS: [&str; 7] =
    ["refused", "poison", "faulty once", "device lost once", "thread dies once", "stalls", "lasts"];

/// What the worker of the `number`th machine can do. Every second machine is small.
pub fn offers(number: u64) -> Description {
    Description {
        native_width: 64,
        native_height: 64,
        multiple: 8,
        max_pixels: if number.is_multiple_of(2) { 1 << 20 } else { 64 * 64 },
        schedulers: Vec::new(),
        required: glimpse_worker::pipeline::RequiredInput::Nothing,
        refines: false,
        device: "simulated".to_owned(),
        identity: Default::default(),
    }
}

/// Serves the orders one after the other, until the device is lost or the thread dies.
pub async fn serve(
    mut orders: UnboundedReceiver<Order>,
    world: Arc<World>,
    process: Arc<Process>,
    max_pixels: u64,
    mut chance: Chance,
) {
    // The device of a frozen process may continue.
    let freezes = chance.of(0.5).then_some(&*process);
    let mut ahead: VecDeque<Order> = VecDeque::new();
    loop {
        let next = match ahead.pop_front() {
            Some(order) => Some(order),
            None => orders.recv().await,
        };
        let Some(order) = next else { return };
        if order.stop.borrow().is_some() {
            world.count("stopped before its begin");
            continue;
        }
        let usable = make(order, &world, freezes, max_pixels, &mut chance).await;
        while let Ok(order) = orders.try_recv() {
            ahead.push_back(order);
        }
        match ahead.iter().filter(|order| order.stop.borrow().is_none()).count() {
            0 => {}
            1 => world.count("claimed ahead"),
            _ => world.broken(|| "a worker claimed two jobs ahead".to_owned()),
        }
        if !usable {
            // Also drops the orders that wait.
            return;
        }
    }
}

/// Runs one job. Drops `done` if the job was stopped, as the real thread does. Returns whether the device is still
/// usable.
async fn make(
    order: Order,
    world: &World,
    freezes: Option<&Process>,
    max_pixels: u64,
    chance: &mut Chance,
) -> bool {
    let Order {
        prepare, resume, checkpoints, last_step, mut observer, stop, finish_early, outbox, done, ..
    } = order;
    let mut last_step = Some(last_step);
    let inputs = prepare().unwrap();
    if u64::from(inputs.width) * u64::from(inputs.height) > max_pixels {
        world.broken(|| "a worker got a job that it is not capable of".to_owned());
    }
    let (mishap, steps, job) = (inputs.prompt.as_str(), inputs.num_inference_steps, inputs.seed);
    let first = world.tries(job) == 1;
    if mishap == "refused" {
        drop(done.send(Err(PipelineError::bad("width", "this model is square"))));
        return true;
    }
    let mut step = match &resume {
        Some(checkpoint) => {
            if checkpoint.bytes()[..8] != job.to_be_bytes() {
                world.broken(|| format!("job {job} goes on from another's checkpoint"));
            }
            checkpoint.bytes()[8].into()
        }
        None => 0,
    };
    let pace = match mishap {
        "stalls" => Duration::from_secs(40),
        "lasts" => chance.millis(1500..4000),
        _ => chance.millis(50..700),
    };
    // Some fail in the last step, when the next job may be claimed already.
    let fails_in = chance.number(steps as u64 / 2..steps as u64 + 1) as usize;
    let mut due = checkpoints.next(Instant::now().into_std());
    let mut finished_at_step = None;
    while step < steps {
        if step + 1 == steps {
            last_step.take().into_iter().for_each(|begins| begins());
        }
        sleep(pace).await;
        if let Some(process) = freezes {
            process.thawed().await;
        }
        if step + 1 >= fails_in {
            let failed = match mishap {
                "poison" => Some(PipelineError::Fault { message: "out of memory".to_owned() }),
                "faulty once" if first => Some(PipelineError::Fault { message: "not finite".to_owned() }),
                "device lost once" if first => {
                    Some(PipelineError::Device { message: "off the bus".to_owned() })
                }
                "thread dies once" if first => return false,
                _ => None,
            };
            if let Some(failed) = failed {
                let usable = !matches!(failed, PipelineError::Device { .. });
                drop(done.send(Err(failed)));
                return usable;
            }
        }
        step += 1;
        if stop.borrow().is_some() {
            return true;
        }
        let at = StepProgress { step, steps };
        if observer(at).is_some() {
            outbox.put(glimpse_worker::outbox::RawPreview {
                step: index(at),
                steps: steps as u32,
                picture: grey(),
            });
        }
        let made = index(at);
        if finish_early.borrow().is_some_and(|wanted| wanted <= made) && step < steps {
            finished_at_step = Some(made);
            break;
        }
        if due.is_some_and(|due| due <= Instant::now().into_std()) && !outbox.owes_partial() {
            checkpoints.put([&job.to_be_bytes()[..], &[step as u8]].concat());
            due = checkpoints.next(Instant::now().into_std());
        }
    }
    last_step.take().into_iter().for_each(|begins| begins());
    sleep(chance.millis(10..300)).await;
    let pictures = (0..inputs.num_images_per_prompt).map(|_| grey()).collect();
    drop(done.send(Ok(Made {
        pictures,
        finished_at_step,
        inference: Duration::ZERO,
        decode: Duration::ZERO,
        warnings: Vec::new(),
    })));
    true
}

fn grey() -> Rgb {
    Rgb { width: 8, height: 8, data: vec![128; 8 * 8 * 3] }
}
