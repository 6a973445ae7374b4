//! Breadth-first search: every world that can be reached, each once, with the shortest way to what is wrong.

use std::{
    collections::{HashSet, VecDeque},
    fmt::Debug,
    hash::{DefaultHasher, Hasher},
};

use glimpse_test_support::ledger::Broken;

/// A state of affairs and what can happen next.
pub trait World: Sized + PartialEq {
    type Action: Debug + Clone;

    /// All that can happen.
    fn actions(&self) -> Vec<Self::Action>;

    /// What comes of it.
    fn after(&self, action: &Self::Action) -> Result<Self, Broken>;

    /// What must hold of any world, besides what the ledger says of each command.
    fn check(&self) -> Result<(), Broken>;

    /// All that tells it from another.
    fn signature(&self) -> impl Debug;
}

/// How many worlds there are; or how to get to one where something is wrong.
pub fn explore<W: World>(start: W) -> Result<usize, String> {
    let mut seen = HashSet::from([digest(&start)]);
    // The way to each world: the world before, and what happened in it.
    let mut ways: Vec<Option<(usize, W::Action)>> = vec![None];
    let mut open = VecDeque::from([(0, start)]);
    while let Some((at, world)) = open.pop_front() {
        for action in world.actions() {
            let told = |wrong| format!("{wrong}, after {:?}", way(&ways, at, &action));
            let next = world.after(&action).map_err(told)?;
            // Most of what is sent again changes nothing: comparing is cheaper than printing.
            if next != world && seen.insert(digest(&next)) {
                next.check().map_err(told)?;
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

/// 128 bits of what a world prints as: no two of a million worlds share them.
fn digest<W: World>(world: &W) -> (u64, u64) {
    // Hashing is quick in one piece, and slow in the many that a print comes in.
    let text = format!("{:?}", world.signature());
    let (mut one, mut other) = (DefaultHasher::new(), DefaultHasher::new());
    other.write_u8(1);
    one.write(text.as_bytes());
    other.write(text.as_bytes());
    (one.finish(), other.finish())
}
