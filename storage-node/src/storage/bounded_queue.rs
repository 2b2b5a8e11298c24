//! A queue between many async callers and a few threads: bounded in items and in bytes, never
//! waited for by those who put in.
//!
//! Invariant: what is in the queue never exceeds both bounds, except for one item that is larger
//! than the byte bound on its own (it may enter an empty queue).

use std::collections::VecDeque;

use parking_lot::{Condvar, Mutex};

/// What a queue may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueLimit {
    /// Most items.
    pub items: usize,
    /// Most bytes, as given with each item.
    pub bytes: usize,
}

/// Why an item was not taken; it comes back.
#[derive(Debug, PartialEq, Eq)]
pub enum NotQueued<T> {
    /// The queue is full: tell the caller to come again later.
    Full(T),
    /// The queue is closed for good.
    Closed(T),
}

/// See the module.
#[derive(Debug)]
pub struct BoundedQueue<T> {
    limit: QueueLimit,
    state: Mutex<State<T>>,
    filled: Condvar,
    #[cfg(feature = "simulation")]
    arrived: tokio::sync::Notify,
}

#[derive(Debug)]
struct State<T> {
    items: VecDeque<(T, usize)>,
    bytes: usize,
    closed: bool,
}

impl<T> State<T> {
    fn pop(&mut self) -> Option<T> {
        let (item, bytes) = self.items.pop_front()?;
        self.bytes -= bytes;
        Some(item)
    }
}

impl<T> BoundedQueue<T> {
    /// An empty queue.
    pub fn new(limit: QueueLimit) -> Self {
        let state = State {
            items: VecDeque::new(),
            bytes: 0,
            closed: false,
        };
        Self {
            limit,
            state: Mutex::new(state),
            filled: Condvar::new(),
            #[cfg(feature = "simulation")]
            arrived: tokio::sync::Notify::new(),
        }
    }

    /// Puts an item at the end, if there is room. Never blocks for long.
    pub fn try_push(&self, item: T, bytes: usize) -> Result<(), NotQueued<T>> {
        let mut state = self.state.lock();
        if state.closed {
            return Err(NotQueued::Closed(item));
        }
        let no_room = state.bytes.saturating_add(bytes) > self.limit.bytes;
        if state.items.len() >= self.limit.items || (no_room && !state.items.is_empty()) {
            return Err(NotQueued::Full(item));
        }
        state.items.push_back((item, bytes));
        state.bytes += bytes;
        drop(state);
        self.filled.notify_one();
        #[cfg(feature = "simulation")]
        self.arrived.notify_one();
        Ok(())
    }

    /// Whether half of either bound is used.
    pub fn is_half_full(&self) -> bool {
        let state = self.state.lock();
        state.items.len() * 2 >= self.limit.items || state.bytes >= self.limit.bytes / 2
    }

    /// Takes the first item, waiting for one. `None`: closed, and everything was taken.
    pub fn pop(&self) -> Option<T> {
        let mut state = self.state.lock();
        loop {
            if let Some(item) = state.pop() {
                return Some(item);
            }
            if state.closed {
                return None;
            }
            self.filled.wait(&mut state);
        }
    }

    /// As [`Self::pop`], for the one task that takes from this queue where there are no threads.
    #[cfg(feature = "simulation")]
    pub async fn pop_in_task(&self) -> Option<T> {
        loop {
            let arrived = self.arrived.notified();
            {
                let mut state = self.state.lock();
                if let Some(item) = state.pop() {
                    return Some(item);
                }
                if state.closed {
                    return None;
                }
            }
            arrived.await;
        }
    }

    /// Takes items without waiting, in order, for as long as `more` says so of what was taken.
    pub fn pop_while(&self, mut more: impl FnMut(&T) -> bool, mut take: impl FnMut(T)) {
        let mut state = self.state.lock();
        while state.items.front().is_some_and(|(item, _)| more(item)) {
            if let Some(item) = state.pop() {
                take(item);
            }
        }
    }

    /// Takes no more items. What is inside can still be taken.
    pub fn close(&self) {
        self.state.lock().closed = true;
        self.filled.notify_all();
        #[cfg(feature = "simulation")]
        self.arrived.notify_one();
    }

    /// Number of items inside.
    pub fn len(&self) -> usize {
        self.state.lock().items.len()
    }

    /// Whether nothing is inside.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::thread;

    const LIMIT: QueueLimit = QueueLimit {
        items: 3,
        bytes: 100,
    };

    #[test]
    fn both_bounds_hold() {
        let queue = BoundedQueue::new(LIMIT);
        queue.try_push(1, 60).unwrap();
        assert_eq!(queue.try_push(2, 41), Err(NotQueued::Full(2)));
        queue.try_push(3, 0).unwrap();
        queue.try_push(4, 40).unwrap();
        assert_eq!(queue.try_push(5, 0), Err(NotQueued::Full(5)));
        assert_eq!(queue.pop(), Some(1));
        queue.try_push(6, 60).unwrap();
    }

    #[test]
    fn an_item_over_the_byte_bound_passes_alone() {
        let queue = BoundedQueue::new(LIMIT);
        queue.try_push(1, 1000).unwrap();
        assert_eq!(queue.try_push(2, 1), Err(NotQueued::Full(2)));
    }

    #[test]
    fn what_was_taken_before_the_close_is_still_given_out() {
        let queue = Arc::new(BoundedQueue::new(LIMIT));
        #[expect(clippy::disallowed_methods, reason = "the queue is for threads")]
        let taker = thread::spawn({
            let queue = queue.clone();
            move || std::iter::from_fn(|| queue.pop()).collect::<Vec<_>>()
        });
        queue.try_push(1, 0).unwrap();
        queue.try_push(2, 0).unwrap();
        queue.close();
        assert_eq!(queue.try_push(3, 0), Err(NotQueued::Closed(3)));
        assert_eq!(taker.join().unwrap(), [1, 2]);
    }

    #[test]
    fn a_run_is_taken_in_order_up_to_the_first_refused() {
        let queue = BoundedQueue::new(LIMIT);
        (1..=3).for_each(|item| queue.try_push(item, 1).unwrap());
        let mut taken = Vec::new();
        queue.pop_while(|item| *item < 3, |item| taken.push(item));
        assert_eq!(taken, [1, 2]);
        assert_eq!(queue.len(), 1);
    }
}
