//! The order between steps: who waits for whom, who is an ancestor of whom.
//!
//! Steps are numbers here, their places in the file. The order chosen is the one of the file wherever dependencies leave a
//! choice, so that the same file is always run, shown and undone in the same order. Ancestors are kept as one bit per pair
//! of steps (12.5 MB for ten thousand), which makes every later question about them a single look.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Steps that wait for each other in a circle, each depending on the next one and the last on the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cycle(pub Vec<usize>);

/// A graph without cycles.
#[derive(Clone, PartialEq, Eq)]
pub struct Graph {
    order: Vec<usize>,
    ancestors: Vec<u64>,
    words: usize,
}

impl Graph {
    /// The graph in which step `i` depends on the steps `parents[i]`. A parent that is no step is ignored.
    pub fn new(parents: &[Vec<usize>]) -> Result<Graph, Cycle> {
        let order = topological_order(parents)?;
        let words = parents.len().div_ceil(64);
        let mut ancestors = vec![0u64; parents.len() * words];
        for &step in &order {
            for &parent in parents.get(step).into_iter().flatten().filter(|&&parent| parent < parents.len()) {
                inherit(&mut ancestors, words, step, parent);
            }
        }
        Ok(Graph { order, ancestors, words })
    }

    /// The steps in an order in which each comes after all that it depends on; otherwise as in the file.
    pub fn order(&self) -> &[usize] {
        &self.order
    }

    /// Whether `step` depends on `ancestor`, directly or through others.
    pub fn is_ancestor(&self, ancestor: usize, step: usize) -> bool {
        ancestor.max(step) < self.order.len()
            && self
                .ancestors
                .get(step * self.words + ancestor / 64)
                .is_some_and(|word| word & (1 << (ancestor % 64)) != 0)
    }

    /// All that `step` depends on, directly or through others, in the order of the file.
    pub fn ancestors(&self, step: usize) -> impl Iterator<Item = usize> + '_ {
        (0..self.order.len()).filter(move |&ancestor| self.is_ancestor(ancestor, step))
    }
}

impl std::fmt::Debug for Graph {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Graph").field("order", &self.order).finish_non_exhaustive()
    }
}

/// Adds `parent` and all its ancestors to those of `step`.
fn inherit(ancestors: &mut [u64], words: usize, step: usize, parent: usize) {
    // INVARIANT: a cycle-free graph has no step that is its own parent, so the two rows are apart.
    let (low, high) = ancestors.split_at_mut(step.max(parent) * words);
    let (near, far) = (low.get_mut(step.min(parent) * words..), high.get_mut(..words));
    let (Some(near), Some(far)) = (near, far) else { return };
    let (of_step, of_parent) = if step < parent { (near, &*far) } else { (far, &*near) };
    for (word, more) in of_step.iter_mut().zip(of_parent) {
        *word |= more;
    }
    if let Some(word) = of_step.get_mut(parent / 64) {
        *word |= 1 << (parent % 64);
    }
}

fn topological_order(parents: &[Vec<usize>]) -> Result<Vec<usize>, Cycle> {
    let mut children: Vec<Vec<usize>> = vec![Vec::new(); parents.len()];
    let mut waiting = vec![0usize; parents.len()];
    for (step, own) in parents.iter().enumerate() {
        for &parent in own {
            if let (Some(list), Some(count)) = (children.get_mut(parent), waiting.get_mut(step)) {
                list.push(step);
                *count += 1;
            }
        }
    }
    let mut ready: BinaryHeap<Reverse<usize>> =
        waiting.iter().enumerate().filter(|(_, count)| **count == 0).map(|(step, _)| Reverse(step)).collect();
    let mut order = Vec::with_capacity(parents.len());
    while let Some(Reverse(step)) = ready.pop() {
        order.push(step);
        for &child in children.get(step).into_iter().flatten() {
            if let Some(count) = waiting.get_mut(child) {
                *count -= 1;
                if *count == 0 {
                    ready.push(Reverse(child));
                }
            }
        }
    }
    if order.len() == parents.len() { Ok(order) } else { Err(find_cycle(parents, &waiting)) }
}

/// Walks from parent to parent among the steps that still wait. Each of them has such a parent, so the walk must come back
/// to a step where it has been.
fn find_cycle(parents: &[Vec<usize>], waiting: &[usize]) -> Cycle {
    let still_waits = |step: &usize| waiting.get(*step).is_some_and(|count| *count > 0);
    let mut path: Vec<usize> = Vec::new();
    let mut place_on_path: Vec<Option<usize>> = vec![None; parents.len()];
    let mut next = (0..parents.len()).find(|step| still_waits(step));
    while let Some(step) = next {
        match place_on_path.get_mut(step) {
            Some(Some(start)) => {
                path.drain(..*start);
                break;
            }
            Some(place) => *place = Some(path.len()),
            None => break,
        }
        path.push(step);
        next = parents.get(step).into_iter().flatten().copied().find(|parent| still_waits(parent));
    }
    // Told from the step that stands first in the file.
    let first = path.iter().enumerate().min_by_key(|(_, step)| **step).map_or(0, |(place, _)| place);
    path.rotate_left(first);
    Cycle(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn steps_without_an_order_keep_that_of_the_file() {
        let graph = Graph::new(&[vec![2], vec![], vec![], vec![0]]).unwrap();
        assert_eq!(graph.order(), [1, 2, 0, 3]);
        assert_eq!(graph.ancestors(3).collect::<Vec<_>>(), [0, 2]);
        assert!(!graph.is_ancestor(1, 3));
        assert!(!graph.is_ancestor(3, 3));
    }

    #[test]
    fn questions_about_steps_that_do_not_exist_are_answered_with_no() {
        let graph = Graph::new(&[vec![], vec![0, 99]]).unwrap();
        assert!(graph.is_ancestor(0, 1));
        for (ancestor, step) in [(99, 1), (0, 99), (2, 1)] {
            assert!(!graph.is_ancestor(ancestor, step));
        }
        assert!(Graph::new(&[]).unwrap().order().is_empty());
    }

    #[test]
    fn a_cycle_is_told_from_its_first_step_in_the_file() {
        assert_eq!(Graph::new(&[vec![], vec![3], vec![1], vec![2, 0]]), Err(Cycle(vec![1, 3, 2])));
        assert_eq!(Graph::new(&[vec![0]]), Err(Cycle(vec![0])));
        // A step that merely waits for a cycle is not part of it.
        assert_eq!(Graph::new(&[vec![1], vec![2], vec![1]]), Err(Cycle(vec![1, 2])));
    }

    #[test]
    fn ten_thousand_steps_in_a_chain_know_all_their_ancestors() {
        let parents: Vec<Vec<usize>> = (0..10_000usize).map(|i| i.checked_sub(1).into_iter().collect()).collect();
        let graph = Graph::new(&parents).unwrap();
        assert!(graph.is_ancestor(0, 9_999));
        assert!(!graph.is_ancestor(9_999, 0));
        assert_eq!(graph.ancestors(9_999).count(), 9_999);
    }

    /// Graphs without cycles, their steps in a random order.
    fn random_graph() -> impl Strategy<Value = Vec<Vec<usize>>> {
        (1usize..80)
            .prop_flat_map(|n| {
                let names = Just((0..n).collect::<Vec<_>>()).prop_shuffle();
                let edges = proptest::collection::vec((0..n, 0..n), 0..n * 3);
                (names, edges)
            })
            .prop_map(|(names, edges)| {
                let mut parents = vec![Vec::new(); names.len()];
                for (a, b) in edges {
                    if a != b {
                        parents[names[a.max(b)]].push(names[a.min(b)]);
                    }
                }
                parents
            })
    }

    proptest! {
        #[test]
        fn the_order_respects_every_dependency(parents in random_graph()) {
            let graph = Graph::new(&parents).unwrap();
            let mut place = vec![usize::MAX; parents.len()];
            for (i, &step) in graph.order().iter().enumerate() {
                place[step] = i;
            }
            for (step, own) in parents.iter().enumerate() {
                prop_assert!(own.iter().all(|&parent| place[parent] < place[step]));
            }
        }

        #[test]
        fn ancestors_are_exactly_what_a_walk_reaches(parents in random_graph()) {
            let graph = Graph::new(&parents).unwrap();
            for step in 0..parents.len() {
                let mut reached = std::collections::BTreeSet::new();
                let mut todo = parents[step].clone();
                while let Some(next) = todo.pop() {
                    if reached.insert(next) {
                        todo.extend(&parents[next]);
                    }
                }
                prop_assert_eq!(graph.ancestors(step).collect::<Vec<_>>(), reached.into_iter().collect::<Vec<_>>());
            }
        }

        #[test]
        fn any_edges_give_an_order_or_a_real_cycle(
            parents in (1usize..12).prop_flat_map(|n| {
                proptest::collection::vec(proptest::collection::vec(0..n, 0..3), n)
            })
        ) {
            if let Err(Cycle(path)) = Graph::new(&parents) {
                prop_assert!(!path.is_empty());
                for (i, &step) in path.iter().enumerate() {
                    prop_assert!(parents[step].contains(&path[(i + 1) % path.len()]));
                }
            }
        }
    }
}
