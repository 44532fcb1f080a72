//! The names of the unit's RPC actions, as called by llm-sys (PROTOCOL 3.1).

use softprefix_core::protocol::extension;
use softprefix_core::protocol::message::action;

/// The stock unit's actions in the order of its list, which ends with the listing itself.
const LISTED: [&str; 8] = [
    action::TASKINFO,
    action::LINK,
    action::EXIT,
    action::WORK,
    action::PAUSE,
    action::SETUP,
    action::UNLINK,
    LIST,
];
const LIST: &str = "list_action";

/// Returns the immediate answer of an RPC call. The reply to the client is sent separately.
#[must_use]
pub fn answer_to_call(name: &str) -> String {
    if name == LIST {
        format!("{{\"actions\":[\"{}\"]}}", LISTED.join("\",\""))
    } else if LISTED.contains(&name) || extension::ACTIONS.contains(&name) {
        "None".to_owned()
    } else {
        format!("{name} NotAction")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stock_units_list_is_given_as_it_was_recorded_and_ours_are_known_beside_it() {
        let recorded = r#"{"actions":["taskinfo","link","exit","work","pause","setup","unlink","list_action"]}"#;
        assert_eq!(answer_to_call("list_action"), recorded);
        for name in LISTED.iter().filter(|name| **name != LIST).chain(&extension::ACTIONS) {
            assert_eq!(answer_to_call(name), "None");
        }
        assert_eq!(answer_to_call("softprefix.dance"), "softprefix.dance NotAction");
        assert_eq!(answer_to_call(""), " NotAction");
    }
}
