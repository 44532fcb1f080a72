//! The recorded conversations behind a simulated llm-sys that uses the real libzmq, with the unit in this process and as the program, on
//! both engines. `recorded` and `recorded_prefixes` define what is compared.

use serde_json::{Value, json};
#[cfg(feature = "npu")]
use softprefix_unit::testing::TinyModel;

use crate::common::*;
use crate::llm_sys::*;
use crate::{recorded, recorded_prefixes};

/// Replays every recorded conversation with the LLM unit, each on its own llm-sys and unit, because numbers count from 1000. `start` starts
/// the unit behind an llm-sys.
fn all_recorded_conversations<U>(kind: Kind, start: impl Fn(&LlmSys) -> U) {
    let on_a_module = |conversation: &dyn Fn(&mut LlmSys)| {
        let folder = short_folder();
        if let Some(mut sys) = LlmSys::start_as(kind, folder.path()) {
            let unit = start(&sys);
            conversation(&mut sys);
            drop(unit);
        }
    };
    on_a_module(&|sys| {
        // This one is between llm-sys and the unit only, and has its own test.
        let theirs = ["unit_call llm.list_action"];
        recorded::compare_with_the_llm_unit(&mut sys.client(), |title| !theirs.contains(&title));
    });
    on_a_module(&|sys| recorded_prefixes::compare_prefixes(&mut sys.client()));
    on_a_module(&|sys| recorded_prefixes::compare_split_characters(&mut sys.client()));
    on_a_module(&compare_a_restart);
}

/// Replays the conversation across a restart of llm-sys. The replies equal the recorded ones before the restart and after the next set-up.
/// In between the old tasks are ended here, whereas the recorded unit kept counting them.
fn compare_a_restart(sys: &mut LlmSys) {
    let mut client = sys.client();
    for section in recorded::read(include_str!("../../../core/tests/fixtures/conversations/restart.txt")) {
        for (at, exchange) in section.exchanges.iter().enumerate() {
            let asked: Value = serde_json::from_str(&exchange.written).unwrap();
            let expected = recorded::recorded(exchange);
            match (section.title.as_str(), &asked["action"]) {
                // llm-sys' own reply: there is no model folder.
                ("lsmode with the directory missing", _) => {
                    sys.restart();
                    client = sys.client();
                    eventually("the old tasks are freed", || {
                        client.ask(&bare("t", "llm", "taskinfo"))["data"] == json!([])
                    });
                    continue;
                }
                ("setup: full", action) if action == "taskinfo" => {
                    let ours = client.ask(&asked);
                    assert_eq!(
                        ours["data"],
                        json!(["llm.1000"]),
                        "the old one of the two recorded tasks has ended"
                    );
                    continue;
                }
                ("exit llm.1001", _) => {
                    assert_eq!(error(&client.ask(&asked)).0, -6, "the old task is gone by itself");
                    continue;
                }
                _ => {}
            }
            client.write(format!("{}\n", exchange.written).as_bytes());
            if asked["action"] == "inference" {
                recorded::assert_same_form(&expected, &recorded::read_results(&mut client), &section.title);
                continue;
            }
            let ours = recorded::timeless(client.next());
            assert_eq!(ours, expected[0], "{} {at}", section.title);
        }
    }
}

#[test]
fn recorded_conversations_have_the_same_replies_on_the_bus() {
    all_recorded_conversations(Kind::Simulated, |sys| OnBus::start(&sys.folder));
}

#[test]
fn the_program_replies_as_in_the_recorded_conversations() {
    behind(Kind::Simulated);
}

/// Starts the program behind this kind of llm-sys.
pub fn behind(kind: Kind) {
    all_recorded_conversations(kind, |sys| {
        let models = tempfile::tempdir().unwrap();
        let program = Program::start_named(&sys.folder, models.path(), STOCK_MODEL);
        program.says("on the bus");
        (program, models)
    });
}

/// The program for the module, on the NPU engine with the stand-in runtime.
#[cfg(feature = "npu")]
#[test]
fn the_shipped_program_replies_as_recorded_on_the_npu_engine() {
    use crate::world::World;

    all_recorded_conversations(Kind::Simulated, |sys| {
        let world = World::sized(TinyModel::qwen2(), 128, 512);
        world.is_also_called(STOCK_MODEL);
        // The model folders that llm-sys reports.
        for part in ["data", "etc"] {
            std::os::unix::fs::symlink(world.root.path().join(part), sys.folder.join(part)).unwrap();
        }
        let mut command = crate::under_test::shipped_program();
        command
            .args(["--bus", "--engine", "npu", "--bus-folder"])
            .arg(&sys.folder)
            .env("SOFTPREFIX_AX_LIB_DIR", world.root.path().join("lib"));
        let program = Program::of(command);
        program.says("on the bus");
        (program, world)
    });
}
