use super::CallStep::*;
use super::*;

const CALL: CallId = CallId([5; 16]);

pub(super) fn call_to(to: Option<u8>, step: CallStep) -> ClientMessage {
    ClientMessage::Call {
        to: to.map(sid),
        call_id: CALL,
        step,
    }
}

fn other_call(to: u8) -> ClientMessage {
    ClientMessage::Call {
        to: Some(sid(to)),
        call_id: CallId([6; 16]),
        step: Request,
    }
}

/// Call news among effects: to, from, step.
fn news(effects: &[Effect]) -> Vec<(u8, u8, CallNews)> {
    let one = |e: &Effect| match e {
        Effect::Send {
            to,
            message: ServerMessage::Call { from, step, .. },
            ..
        } => Some((to.0 as u8, from.0[0], *step)),
        Effect::Send { .. } | Effect::Ping { .. } | Effect::Close { .. } => None,
    };
    effects.iter().filter_map(one).collect()
}

fn room(members: &[u8]) -> World {
    let mut w = World::with(Config {
        ping_every: secs(10_000),
        ..Config::default()
    });
    w.room_of(members);
    w
}

impl World {
    fn step(&mut self, n: u8, step: CallStep) -> Vec<(u8, u8, CallNews)> {
        let to = (step == Request).then_some(2);
        news(&self.say(n, call_to(to, step)))
    }

    fn calls(&self) -> &CallMetrics {
        &self.hub.metrics().calls
    }
}

#[test]
fn a_call_is_placed_taken_and_ended() {
    let mut w = room(&[1, 2, 3]);
    assert_eq!(w.step(1, Request), [(2, 1, CallNews::Request)]);
    assert_eq!(w.step(2, Accept), [(1, 2, CallNews::Accept)]);
    w.pass(secs(60));
    assert_eq!(w.step(2, HangUp), [(1, 2, CallNews::HangUp)]);
    let want = CallMetrics {
        started: 1,
        answered: 1,
        ended: 1,
        peak: 1,
        talked: secs(60),
        ..CallMetrics::default()
    };
    assert_eq!(*w.calls(), want);
    // After it, the next call works.
    assert_eq!(w.step(1, Request), [(2, 1, CallNews::Request)]);
}

#[test]
fn rejected_cancelled_and_unanswered_calls_end_and_are_counted() {
    let mut w = room(&[1, 2]);
    w.step(1, Request);
    assert_eq!(w.step(2, Reject), [(1, 2, CallNews::Reject)]);
    assert_eq!(w.calls().rejected, 1);
    w.step(1, Request);
    assert_eq!(w.step(1, Cancel), [(2, 1, CallNews::Cancel)]);
    assert_eq!(w.calls().missed, 1);
    w.step(1, Request);
    assert_eq!(w.step(1, HangUp), [(2, 1, CallNews::Cancel)]);
    assert_eq!(w.calls().missed, 2);
    w.step(1, Request);
    assert_eq!(w.pass(limits::RING_TIMEOUT - Duration::from_millis(1)), []);
    let over = w.pass(Duration::from_millis(1));
    let timeout = CallNews::Timeout;
    assert_eq!(news(&over), [(1, 2, timeout), (2, 1, timeout)]);
    assert_eq!(
        (w.calls().missed, w.calls().started, w.calls().answered),
        (3, 4, 0)
    );
    assert_eq!(w.calls().live, 0);
}

#[test]
fn who_is_in_a_call_is_busy() {
    let mut w = room(&[1, 2, 3]);
    w.step(1, Request);
    for callee in [2, 1] {
        let effects = w.say(3, other_call(callee));
        assert_eq!(news(&effects), [(3, callee, CallNews::Busy)]);
    }
    assert_eq!(w.calls().failed, 2);
    assert_eq!(
        errors(&w.say(1, other_call(3))),
        [error(1, Code::Busy, Some(3))]
    );
    w.step(2, Accept);
    assert_eq!(news(&w.say(3, other_call(2))), [(3, 2, CallNews::Busy)]);
    w.step(1, HangUp);
    assert_eq!(news(&w.say(3, other_call(2))), [(2, 3, CallNews::Request)]);
}

#[test]
fn the_room_is_called_and_each_answers_for_itself() {
    let mut w = room(&[1, 2, 3, 4]);
    let rung = news(&w.say(1, call_to(None, Request)));
    assert_eq!(rung, [2, 3, 4].map(|n| (n, 1, CallNews::Request)));
    w.step(2, Accept);
    assert_eq!(
        w.step(3, Accept),
        [(1, 3, CallNews::Accept), (2, 3, CallNews::Accept)]
    );
    assert_eq!(
        w.step(4, Reject),
        [1, 2, 3].map(|n| (n, 4, CallNews::Reject))
    );
    // Called again from inside the call.
    let again = news(&w.say(3, call_to(Some(4), Request)));
    assert_eq!(again, [(4, 3, CallNews::Request)]);
    let gone = news(&w.act(Input::Closed { conn: conn(3) }));
    let want = [
        (4, 3, CallNews::Cancel),
        (1, 3, CallNews::HangUp),
        (2, 3, CallNews::HangUp),
    ];
    assert_eq!(gone, want);
    assert_eq!((w.calls().live, w.calls().peak), (1, 1));
    assert_eq!(w.step(1, HangUp), [(2, 1, CallNews::HangUp)]);
    assert_eq!((w.calls().live, w.calls().answered), (0, 1));
}

#[test]
fn who_leaves_ends_its_calls() {
    for (leaver, answered, want) in [
        (1, false, (2, 1, CallNews::Cancel)),
        (2, false, (1, 2, CallNews::Reject)),
        (1, true, (2, 1, CallNews::HangUp)),
        (2, true, (1, 2, CallNews::HangUp)),
    ] {
        let mut w = room(&[1, 2]);
        w.step(1, Request);
        if answered {
            w.step(2, Accept);
        }
        let effects = w.say(leaver, ClientMessage::Leave {});
        assert_eq!(news(&effects), [want]);
        assert_eq!(w.calls().failed, u64::from(!answered));
        assert_eq!(w.calls().live, 0);
        assert_eq!(news(&w.pass(secs(60))), [], "nothing rings on");
    }
}

#[test]
fn steps_that_make_no_sense_are_refused() {
    let mut w = room(&[1, 2, 3]);
    let not_now = |n| [error(n, Code::NotNow, None)];
    for step in [Accept, Reject, Cancel, HangUp] {
        assert_eq!(
            errors(&w.say(1, call_to(None, step))),
            not_now(1),
            "no call"
        );
    }
    w.step(1, Request);
    for (n, step) in [
        (1, Accept),
        (1, Reject),
        (2, HangUp),
        (2, Cancel),
        (3, Accept),
        (3, HangUp),
    ] {
        assert_eq!(
            errors(&w.say(n, call_to(None, step))),
            not_now(n),
            "{n} {step:?}"
        );
    }
    let taken = w.say(3, call_to(Some(1), Request));
    assert_eq!(errors(&taken), [error(3, Code::NotNow, Some(1))]);
    let ringing = w.say(2, call_to(Some(1), Request));
    assert_eq!(errors(&ringing), [error(2, Code::NotNow, Some(1))]);
    for to in [9, 1] {
        let nobody = w.say(1, call_to(Some(to), Request));
        assert_eq!(errors(&nobody), [error(1, Code::NoSuchMember, Some(to))]);
    }
    let mut alone = room(&[1]);
    let nobody = alone.say(1, call_to(None, Request));
    assert_eq!(errors(&nobody), [error(1, Code::NoSuchMember, None)]);
    assert_eq!(alone.calls().failed, 1);
}
