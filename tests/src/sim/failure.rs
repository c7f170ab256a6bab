//! How a run fails: an assertion of the world, a panic of what it tests, or a logged error.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

thread_local! {
    static RUNNING: Cell<bool> = const { Cell::new(false) };
    static AT: Cell<(u64, usize)> = const { Cell::new((0, 0)) };
    static PLACE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Notes the moment, for the message of a failure.
pub(super) fn at(now: u64) {
    AT.set((now, AT.get().1));
}

/// Notes the step of the plan.
pub(super) fn step(step: usize) {
    AT.set((AT.get().0, step));
}

/// Runs `f`; what went wrong, if something did.
pub(super) fn catch<T>(f: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if RUNNING.get() {
                let place = info
                    .location()
                    .map_or_else(String::new, ToString::to_string);
                PLACE.set(place);
            } else {
                before(info);
            }
        }));
    });
    RUNNING.set(true);
    let result = tracing::subscriber::with_default(NoErrors, || catch_unwind(AssertUnwindSafe(f)));
    RUNNING.set(false);
    result.map_err(|payload| {
        let text = payload.downcast_ref::<String>().cloned();
        let text = text.or_else(|| payload.downcast_ref::<&str>().map(ToString::to_string));
        let (now, step) = AT.get();
        let text = text.unwrap_or_default();
        format!("{text}\n    at {now} ms, step {step}, {}", PLACE.take())
    })
}

/// Fails the run where something logs an error.
struct NoErrors;

impl Subscriber for NoErrors {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::ERROR
    }

    fn max_level_hint(&self) -> Option<tracing::level_filters::LevelFilter> {
        Some(tracing::level_filters::LevelFilter::ERROR)
    }

    fn event(&self, event: &Event<'_>) {
        let mut text = Text(format!("logged an error in {}:", event.metadata().target()));
        event.record(&mut text);
        panic!("{}", text.0);
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0.push_str(&format!(" {field}={value:?}"));
    }
}
