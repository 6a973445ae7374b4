//! Cycles in a graph of modules.
use std::collections::{BTreeMap, BTreeSet};

use super::modules::Uses;

/// The shortest circle through each module that is on one, each circle once, as `a -> b -> a`.
pub fn circles(uses: &Uses) -> Vec<String> {
    let mut circles = BTreeSet::new();
    for start in uses.keys() {
        if let Some(mut circle) = shortest(uses, start) {
            // The same circle is found from each of its modules.
            let first = circle.iter().enumerate().min_by_key(|(_, name)| *name).map_or(0, |(at, _)| at);
            circle.rotate_left(first);
            circle.push(circle[0]);
            circles.insert(circle.join(" -> "));
        }
    }
    circles.into_iter().collect()
}

/// The shortest way from a module back to itself.
fn shortest<'a>(uses: &'a Uses, start: &'a str) -> Option<Vec<&'a str>> {
    let mut came_from: BTreeMap<&str, &str> = BTreeMap::new();
    let mut edge = vec![start];
    while !edge.is_empty() {
        let mut next = Vec::new();
        for module in edge {
            for used in uses.get(module).into_iter().flat_map(|used| used.keys()) {
                if used == start {
                    let mut way = vec![module];
                    while let Some(before) = came_from.get(way[way.len() - 1]) {
                        way.push(before);
                    }
                    way.reverse();
                    return Some(way);
                }
                if !came_from.contains_key(used.as_str()) {
                    came_from.insert(used, module);
                    next.push(used.as_str());
                }
            }
        }
        edge = next;
    }
    None
}
