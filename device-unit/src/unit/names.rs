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
pub fn rpc_answer(name: &str) -> String {
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
    fn the_action_list_is_the_stock_units_and_our_extensions_are_known_in_addition() {
        let recorded = r#"{"actions":["taskinfo","link","exit","work","pause","setup","unlink","list_action"]}"#;
        assert_eq!(rpc_answer("list_action"), recorded);
        for name in LISTED.iter().filter(|name| **name != LIST).chain(&extension::ACTIONS) {
            assert_eq!(rpc_answer(name), "None");
        }
        assert_eq!(rpc_answer("softprefix.dance"), "softprefix.dance NotAction");
        assert_eq!(rpc_answer(""), " NotAction");
    }
}
