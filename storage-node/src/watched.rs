//! A value and those who wait for it to change.
//!
//! As `tokio::sync::watch`, which wakes whoever waits in an order that it draws by lot; here they are
//! woken in the order in which they came, and a simulation repeats itself.

use std::pin::pin;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// See the module.
#[derive(Debug)]
pub(crate) struct Watched<T> {
    value: Mutex<T>,
    changed: Notify,
}

impl<T: Copy> Watched<T> {
    pub(crate) fn new(value: T) -> Self {
        Self {
            value: Mutex::new(value),
            changed: Notify::new(),
        }
    }

    /// As it is now.
    pub(crate) fn get(&self) -> T {
        *self.value.lock()
    }

    /// Changes it, and wakes whoever waits.
    pub(crate) fn set(&self, value: T) {
        *self.value.lock() = value;
        self.changed.notify_waiters();
    }

    /// Changes it if that is more, and wakes whoever waits.
    pub(crate) fn raise(&self, value: T)
    where
        T: Ord,
    {
        let mut held = self.value.lock();
        *held = (*held).max(value);
        drop(held);
        self.changed.notify_waiters();
    }

    /// The value, once it is as wanted. What it is in between may go by unseen.
    pub(crate) async fn wait_for(&self, wanted: impl Fn(T) -> bool) -> T {
        loop {
            let mut changed = pin!(self.changed.notified());
            // From here on no change is missed.
            changed.as_mut().enable();
            let value = self.get();
            if wanted(value) {
                return value;
            }
            changed.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn who_waits_is_woken_in_the_order_of_coming() {
        let watched = Arc::new(Watched::new(0));
        let woken = Arc::new(Mutex::new(Vec::new()));
        let waiters: Vec<_> = (0..20)
            .map(|number| {
                let (watched, woken) = (watched.clone(), woken.clone());
                tokio::spawn(async move {
                    let value = watched.wait_for(|value| value > 1).await;
                    woken.lock().push((number, value));
                })
            })
            .collect();
        tokio::task::yield_now().await;
        watched.set(1);
        tokio::task::yield_now().await;
        assert!(woken.lock().is_empty());
        watched.set(2);
        for waiter in waiters {
            waiter.await.unwrap();
        }
        let expected: Vec<_> = (0..20).map(|number| (number, 2)).collect();
        assert_eq!(*woken.lock(), expected);
        assert_eq!(watched.wait_for(|value| value == 2).await, 2);
    }
}
