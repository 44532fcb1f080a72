//! Drafts as seen by clients: the same texts in fewer steps and frames, drafted from recent texts and from given tokens.

use serde_json::{Value, json};
use softprefix_unit::unit::UnitOptions;

use crate::common::*;

const MOST: usize = 60;

fn asking(request_id: &str, task: &str, draft: Option<&[u32]>) -> Value {
    let mut options = json!({"max_new_tokens": MOST, "usage": true, "stream": true});
    if let Some(draft) = draft {
        options["draft_tokens"] = json!(draft);
    }
    infer_with(request_id, task, "hello there", json!({"softprefix": options}))
}

fn ids(usage: &Value) -> Vec<u32> {
    serde_json::from_value(usage["tokens"].clone()).unwrap()
}

/// Returns the numbers of drafted and accepted tokens.
fn counts(usage: &Value) -> (u64, u64) {
    let count = |key: &str| usage[key].as_u64().unwrap();
    (count("drafted"), count("accepted"))
}

/// Returns a stream's text, its number of frames with text, and its usage.
fn stream(client: &mut Client, asking: &Value) -> (String, usize, Value) {
    client.send(asking);
    let (text, last) = client.stream(asking["request_id"].as_str().unwrap());
    let frames = last["data"]["index"].as_u64().unwrap();
    (text, usize::try_from(frames).unwrap(), last["usage"].clone())
}

fn plain_unit() -> Server {
    Server::with(UnitOptions {
        drafts: false,
        ..UnitOptions::default()
    })
}

#[test]
fn a_repeated_text_takes_fewer_steps_and_frames() {
    let server = plain_unit();
    let mut client = server.client();
    let task = client.set_up(&streaming(ENDLESS, 1000));
    let (text, frames, plain) = stream(&mut client, &asking("plain", &task, None));
    assert_eq!(counts(&plain), (0, 0));

    let server = Server::start();
    let mut client = server.client();
    let task = client.set_up(&streaming(ENDLESS, 1000));
    let (first, _, usage) = stream(&mut client, &asking("first", &task, None));
    assert_eq!((&first, ids(&usage)), (&text, ids(&plain)));
    let (again, fewer, usage) = stream(&mut client, &asking("again", &task, None));
    assert_eq!((&again, ids(&usage)), (&text, ids(&plain)));
    let (drafted, accepted) = counts(&usage);
    assert!(drafted >= accepted && accepted > 40, "{accepted} of {drafted}");
    assert!(
        fewer <= MOST - accepted as usize && fewer < frames,
        "{fewer} frames, {frames} without drafts"
    );
    let other = client.set_up(&streaming(ENDLESS, 1000));
    let (_, _, usage) = stream(&mut client, &asking("other", &other, None));
    assert!(counts(&usage).1 < accepted, "each task has its own texts");
}

#[test]
fn a_stopped_text_is_drafted_from_too() {
    let server = Server::start();
    let mut client = server.client();
    let task = client.set_up(&streaming(ENDLESS, 20_000));
    let mut long = asking("long", &task, None);
    long["data"]["softprefix"]["max_new_tokens"] = json!(15_000);
    client.send(&long);
    assert_eq!(client.next()["data"]["finish"], false);
    client.send(&bare("p", &task, "pause"));
    let mut stopped = None;
    while stopped.is_none() {
        let reply = client.next();
        stopped = (reply["data"]["finish"] == true).then(|| reply["usage"].clone());
    }
    let stopped = ids(&stopped.unwrap());
    let (_, _, usage) = stream(&mut client, &asking("again", &task, None));
    let both = stopped.len().min(MOST);
    assert_eq!(ids(&usage)[..both], stopped[..both]);
    assert!(both < 20 || counts(&usage).1 > 5, "{usage}");
}

#[test]
fn a_wrong_token_in_a_given_draft_is_rejected() {
    let server = Server::start();
    let mut client = server.client();
    let task = client.set_up(&streaming(ENDLESS, 1000));
    let truth = ids(&stream(&mut client, &asking("truth", &task, None)).2);
    for place in [1, 2, 17, 40, 59] {
        // A new task, so that tokens are drafted from the given draft only.
        let task = client.set_up(&streaming(ENDLESS, 1000));
        let mut planted = truth.clone();
        planted[place] = (planted[place] + 1) % 200;
        let (_, _, usage) = stream(&mut client, &asking("planted", &task, Some(&planted)));
        assert_eq!(ids(&usage), truth, "with a wrong token at {place}");
        let (drafted, accepted) = counts(&usage);
        assert!(
            drafted > 0 && accepted >= place as u64 / 2,
            "{accepted} of {drafted} at {place}"
        );
        client.ask(&bare("e", &task, "exit"));
    }
}

#[test]
fn invalid_drafts_are_refused_or_have_no_effect() {
    let server = Server::start();
    let mut client = server.client();
    let task = client.set_up(&streaming(ENDLESS, 1000));
    let (_, _, usage) = stream(&mut client, &asking("truth", &task, None));
    let truth = ids(&usage);
    for (number, draft) in [vec![], vec![0; 30_000], vec![truth[0]; 50_000], (0..265).collect()]
        .iter()
        .enumerate()
    {
        let (_, _, usage) = stream(&mut client, &asking("hostile", &task, Some(draft)));
        assert_eq!(ids(&usage), truth, "draft {number}");
    }
    for draft in [
        json!([265]),
        json!([1, 2, u32::MAX]),
        json!([-1]),
        json!([1.5]),
        json!("1"),
        json!({"a": 1}),
        json!([u64::MAX]),
    ] {
        let mut asking = asking("bad", &task, None);
        asking["data"]["softprefix"]["draft_tokens"] = draft;
        let reply = client.ask(&asking);
        let (code, sentence) = error(&reply);
        assert!(code == -22 && sentence.contains("draft_tokens"), "{reply}");
    }
}

#[test]
fn a_unit_reports_whether_it_drafts() {
    for (server, drafts) in [(Server::start(), true), (plain_unit(), false)] {
        let mut client = server.client();
        let task = client.set_up(&streaming(ENDLESS, 1000));
        let info = client.ask(&bare("t", &task, "taskinfo"));
        let features = info["data"]["soft_prefix"]["features"].as_array().unwrap().clone();
        assert_eq!(features.contains(&json!("drafts")), drafts);
        if !drafts {
            let (_, _, usage) = stream(&mut client, &asking("d", &task, Some(&[1, 2, 3])));
            assert_eq!(counts(&usage), (0, 0));
        }
    }
}
