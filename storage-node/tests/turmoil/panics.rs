//! Panics, which would end a real process.

use std::cell::Cell;
use std::panic;
use std::sync::Once;

use crate::broken::Broken;

thread_local! {
    static PANICS: Cell<u64> = const { Cell::new(0) };
}

/// Counts the panics of this thread from now on.
pub(crate) fn count_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let print = panic::take_hook();
        panic::set_hook(Box::new(move |information| {
            PANICS.set(PANICS.get() + 1);
            print(information);
        }));
    });
    PANICS.set(0);
}

/// Whether a task panicked: a real process would have ended.
pub(crate) fn no_panics() -> Result<(), Broken> {
    match PANICS.get() {
        0 => Ok(()),
        count => Err(Broken::new(
            "a process ends by itself",
            format!("{count} panics, see above"),
        )),
    }
}
