//! Breadth-first search: visits every reachable world once, and finds the shortest path to a broken rule.

use std::{
    collections::{HashSet, VecDeque},
    fmt::Debug,
    hash::{DefaultHasher, Hasher},
};

use glimpse_test_support::ledger::Broken;

/// A state of the system, and the possible actions.
pub trait World: Sized + PartialEq {
    type Action: Debug + Clone;

    /// All possible actions.
    fn actions(&self) -> Vec<Self::Action>;

    /// The world after an action.
    fn after(&self, action: &Self::Action) -> Result<Self, Broken>;

    /// The rules of every world, besides those that the ledger checks for each command.
    fn check(&self) -> Result<(), Broken>;

    /// Everything that distinguishes it from another world.
    fn signature(&self) -> impl Debug;
}

/// The number of worlds, or the path to one that breaks a rule.
pub fn explore<W: World>(start: W) -> Result<usize, String> {
    let mut seen = HashSet::from([digest(&start)]);
    // For each world: the previous world, and the action in it.
    let mut ways: Vec<Option<(usize, W::Action)>> = vec![None];
    let mut open = VecDeque::from([(0, start)]);
    while let Some((at, world)) = open.pop_front() {
        for action in world.actions() {
            let with_path = |wrong| format!("{wrong}, after {:?}", way(&ways, at, &action));
            let next = world.after(&action).map_err(with_path)?;
            // Most repeated commands change nothing, and comparing is cheaper than printing.
            if next != world && seen.insert(digest(&next)) {
                next.check().map_err(with_path)?;
                ways.push(Some((at, action)));
                open.push_back((ways.len() - 1, next));
            }
        }
    }
    Ok(ways.len())
}

fn way<A: Clone>(ways: &[Option<(usize, A)>], mut at: usize, last: &A) -> Vec<A> {
    let mut way = vec![last.clone()];
    while let Some((before, action)) = &ways[at] {
        way.push(action.clone());
        at = *before;
    }
    way.reverse();
    way
}

/// A 128-bit hash of a world's debug form: no two of a million worlds share it.
fn digest<W: World>(world: &W) -> (u64, u64) {
    // Hashing is fast for one long text, and slow for the many pieces that formatting writes.
    let text = format!("{:?}", world.signature());
    let (mut one, mut other) = (DefaultHasher::new(), DefaultHasher::new());
    other.write_u8(1);
    one.write(text.as_bytes());
    other.write(text.as_bytes());
    (one.finish(), other.finish())
}
