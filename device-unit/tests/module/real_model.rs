//! A real model: the output is text with whole characters, the same in every form.

use std::sync::Arc;

use serde_json::json;
use softprefix_unit::models::ModelStore;
use softprefix_unit::testing::small_model;
use softprefix_unit::unit::{Unit, UnitOptions};

use crate::common::*;

#[test]
fn japanese_streams_are_divided_between_characters_and_equal_the_whole_text() {
    let name = small_model().file_stem().unwrap().to_string_lossy().into_owned();
    let unit = Unit::new(Arc::new(ModelStore::from_env()), UnitOptions::default());
    let server = Server::serving(Arc::new(unit));
    let mut client = server.client();
    let frames = client.set_up(&streaming(&name, 400));
    let texts = client.set_up(&whole(&name, 400));
    let prompt = "次の文をそのまま繰り返してください。「春の海は静かで、朝の光が波の上で揺れています。」";
    // Each limit ends the text at another token, some of them within a character.
    for most in [1, 2, 3, 7, 20, 21, 22, 60] {
        let options = json!({"softprefix": {"max_new_tokens": most, "usage": true}});
        let text = client.ask(&infer_with("w", &texts, prompt, options.clone()));
        client.send(&infer_with("s", &frames, prompt, options));
        let (joined, last) = client.stream("s");
        assert_eq!(joined, text["data"].as_str().unwrap());
        assert_eq!(last["usage"]["tokens"], text["usage"]["tokens"]);
        assert!(
            !joined.trim_end_matches('\u{fffd}').contains('\u{fffd}'),
            "{joined:?} is cut inside only at its end"
        );
    }
    let options = json!({"softprefix": {"max_new_tokens": 40}});
    client.send(&infer_with("s", &frames, prompt, options));
    let (text, _) = client.stream("s");
    assert!(
        text.chars().any(|c| ('\u{3040}'..'\u{9fff}').contains(&c)),
        "{text:?} is Japanese"
    );
}
