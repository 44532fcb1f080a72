//! Chat templates of model files: Jinja, as the Hugging Face libraries and llama.cpp render it.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::thread;

use minijinja::machinery::{
    CodeGenerator, Instruction, Instructions, Token, eval, make_string_output, parse, tokenize,
};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{ObjectRepr, Tuple};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, State, Value, context};
use minijinja_contrib::pycompat::unknown_method_callback;

use super::LONGEST_TEXT;

/// Longest template in bytes. Those of models have up to 20 KB.
pub(super) const LONGEST_TEMPLATE: usize = 32 << 10;
/// Most work and memory of a rendering: instructions, or 64 bytes each. Templates of models take a few thousand, and copy the texts up to
/// ten times.
const FUEL: u64 = 50_000 + 32 * LONGEST_TEXT as u64 / 64;
/// Largest operand of an operation, with all that it contains as often as it contains it: bytes of text, and [`VALUE`] for each value.
const LARGEST_OPERAND: usize = 4 * LONGEST_TEXT;
const VALUE: usize = 64;
/// How much of its operands an operation works through for one unit of fuel.
const OPERAND_BYTES_PER_FUEL: usize = 256;
/// Stack to compile and to render. An expression may have a level for each two bytes of a template, and a value, which is dropped level by
/// level, one for each instruction. What is not used takes addresses, not memory.
const STACK: usize = FUEL as usize * 512;
const NAME: &str = "chat_template";
/// The filters in front of operations, which take fuel: for their operands; for their operands and, with each item of the first one, for
/// the others; for a text of which a character is looked up.
const CHARGED: &str = "charged-operands";
const CHARGED_FOR_EACH_ITEM: &str = "charged-operands-for-each-item";
const CHARGED_LOOKUP: &str = "charged-lookup";

/// A template as a file contains it.
#[derive(Debug, Clone)]
pub(super) struct JinjaTemplate {
    environment: Arc<Environment<'static>>,
    source: Arc<str>,
    bos_token: String,
    eos_token: String,
}

/// Why a text could not be rendered, as a clause.
#[derive(Debug)]
pub(super) enum RenderError {
    /// The template itself: it is invalid, or refuses the text.
    Refused(String),
    /// This computer, or the template engine: the text is not the reason.
    Failed(String),
}

impl RenderError {
    pub fn into_clause(self) -> String {
        match self {
            Self::Refused(clause) | Self::Failed(clause) => clause,
        }
    }
}

impl JinjaTemplate {
    /// Compiles a template. `bos_token` and `eos_token` are the tokens that begin and end a text, as templates write them; empty where the
    /// file names none.
    ///
    /// # Errors
    /// What is wrong with it, as a clause.
    pub fn new(source: &str, bos_token: String, eos_token: String) -> Result<Self, RenderError> {
        let environment = environment();
        let source = on_large_stack(|| {
            let source = adapted(source, environment.syntax())?;
            compile(&environment, &source)?;
            Ok(source.into())
        })?;
        Ok(Self {
            environment: Arc::new(environment),
            source,
            bos_token,
            eos_token,
        })
    }

    /// The text of a conversation, up to the beginning of the model's answer.
    ///
    /// # Errors
    /// Why it cannot be rendered, as a clause: the template needs something that is not here, raises an exception, or takes too much time
    /// or memory.
    pub fn render(&self, system: &str, user: &str) -> Result<String, RenderError> {
        let message = |role: &str, content: &str| context! { role, content };
        let conversation = context! {
            messages => [message("system", system), message("user", user)],
            tools => (),
            documents => (),
            add_generation_prompt => true,
            bos_token => &self.bos_token,
            eos_token => &self.eos_token,
        };
        on_large_stack(|| {
            let instructions = compile(&self.environment, &self.source)?;
            let mut text = String::new();
            let mut output = make_string_output(&mut text);
            let blocks = BTreeMap::new();
            eval(
                &self.environment,
                &instructions,
                conversation,
                &blocks,
                &mut output,
                AutoEscape::None,
            )?;
            Ok(text)
        })
    }
}

/// Runs `work` on a thread of its own with a stack of [`STACK`] bytes.
fn on_large_stack<T: Send>(work: impl FnOnce() -> Result<T, Error> + Send) -> Result<T, RenderError> {
    let done = thread::scope(|scope| {
        let worker = thread::Builder::new().stack_size(STACK);
        worker.spawn_scoped(scope, work).map(thread::ScopedJoinHandle::join)
    });
    done.map_err(|error| RenderError::Failed(error.to_string()))?
        .map_err(|_| RenderError::Failed("the template engine failed".to_owned()))?
        .map_err(|error| RenderError::Refused(clause(error)))
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    // The delimiters are the usual ones, which cannot be wrong.
    environment.set_syntax(syntax.unwrap_or_default());
    environment.set_fuel(Some(FUEL));
    environment.set_unknown_method_callback(|state, value, method, arguments| {
        let chars = match arguments {
            [chars] => chars.as_str(),
            _ => None,
        };
        match (method, value.as_str(), chars) {
            // It fills up to any width at no cost.
            ("format", ..) => Err(ErrorKind::UnknownMethod.into()),
            ("strip", Some(text), Some(chars)) => Ok(stripped(text, chars, true, true).into()),
            ("lstrip", Some(text), Some(chars)) => Ok(stripped(text, chars, true, false).into()),
            ("rstrip", Some(text), Some(chars)) => Ok(stripped(text, chars, false, true).into()),
            _ => unknown_method_callback(state, value, method, arguments),
        }
    });
    environment.add_filter("trim", |text: String, chars: Option<String>| match chars {
        Some(chars) => stripped(&text, &chars, true, true).to_owned(),
        None => text.trim().to_owned(),
    });
    // Templates ask this of the tools, before they ask how many there are.
    environment.add_test("iterable", |value: Value| !value.is_none() && value.try_iter().is_ok());
    // They work through more than their operands contain.
    environment.remove_filter("sum");
    environment.remove_global("dict");
    environment.remove_global("debug");
    environment.add_global("__one__", 1);
    environment.add_function("raise_exception", |message: String| -> Result<String, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, message))
    });
    environment.add_filter(CHARGED, |state: &State, operands: Value| {
        charged(state, &operands, Charge::Operands)
    });
    environment.add_filter(CHARGED_FOR_EACH_ITEM, |state: &State, operands: Value| {
        charged(state, &operands, Charge::ForEachItem)
    });
    environment.add_filter(CHARGED_LOOKUP, |state: &State, operands: Value| {
        charged(state, &operands, Charge::Lookup)
    });
    environment
}

/// The text without the characters of `chars` at its start or end. The engine compares each character with all of `chars`.
fn stripped<'t>(text: &'t str, chars: &str, start: bool, end: bool) -> &'t str {
    let chars: HashSet<char> = chars.chars().collect();
    let text = if start {
        text.trim_start_matches(|c| chars.contains(&c))
    } else {
        text
    };
    if end {
        text.trim_end_matches(|c| chars.contains(&c))
    } else {
        text
    }
}

/// The template with the ends of lines, the tags and the products as they are compiled here.
///
/// The tags around what an assistant says, which training uses, have no effect on the text. A product of constants would be computed
/// while it is compiled, when nothing limits its size.
fn adapted(source: &str, syntax: &SyntaxConfig) -> Result<String, Error> {
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let mut adapted = String::with_capacity(source.len());
    let (mut copied, mut opens_block) = (0, false);
    for token in tokenize(&source, false, syntax.clone()) {
        let (token, span) = token?;
        let replacement = match &token {
            Token::Mul => Some("*__one__*"),
            Token::Ident("generation") if opens_block => Some("if true"),
            Token::Ident("endgeneration") if opens_block => Some("endif"),
            _ => None,
        };
        opens_block = matches!(token, Token::BlockStart);
        if let Some(replacement) = replacement {
            adapted.push_str(&source[copied..span.start_offset as usize]);
            adapted.push_str(replacement);
            copied = span.end_offset as usize;
        }
    }
    adapted.push_str(&source[copied..]);
    Ok(adapted)
}

/// The instructions of a template, with [`charged`] in front of each that works on operands of any size.
///
/// The engine counts instructions and what they make. It does not count what they read, and makes sequences that it computes again
/// whenever they are read: a few instructions can then take hours, or all memory.
fn compile<'s>(environment: &Environment<'_>, source: &'s str) -> Result<Instructions<'s>, Error> {
    let tree = parse(source, NAME, environment.syntax().clone())?;
    let mut generator = CodeGenerator::new(NAME, source);
    generator.compile_stmt(&tree);
    let (plain, _) = generator.finish();
    let mut instructions = Instructions::new(NAME, source);
    let mut moved = Vec::new();
    for index in 0.. {
        let Some(instruction) = plain.get(index) else { break };
        let line = plain.get_line(index).and_then(|line| u16::try_from(line).ok());
        let mut add = |instruction| instructions.add_with_line(instruction, line.unwrap_or_default());
        let operands = operands(instruction)?;
        let first = if operands == 0 {
            add(instruction.clone())
        } else {
            let filter = match instruction {
                Instruction::ApplyFilter(..) | Instruction::PerformTest(..) => CHARGED_FOR_EACH_ITEM,
                Instruction::GetItem => CHARGED_LOOKUP,
                _ => CHARGED,
            };
            let first = add(Instruction::BuildList(Some(operands)));
            add(Instruction::ApplyFilter(filter, Some(1), !0));
            add(Instruction::UnpackList(operands));
            add(instruction.clone());
            first
        };
        moved.push(first);
    }
    let end = instructions.add(Instruction::EmitRaw(""));
    for index in 0..end {
        if let Some(
            Instruction::Iterate(target)
            | Instruction::Jump(target)
            | Instruction::JumpIfFalse(target)
            | Instruction::JumpIfFalseOrPop(target)
            | Instruction::JumpIfTrueOrPop(target)
            | Instruction::BuildMacro(_, target, _),
        ) = instructions.get_mut(index)
        {
            *target = moved.get(*target as usize).copied().unwrap_or(end);
        }
    }
    Ok(instructions)
}

/// How many values on the stack an instruction works through.
fn operands(instruction: &Instruction<'_>) -> Result<usize, Error> {
    use Instruction::*;
    Ok(match instruction {
        Slice => 4,
        Add | Sub | Mul | Div | IntDiv | Rem | Pow | StringConcat => 2,
        Eq | Ne | Gt | Gte | Lt | Lte | In | CompareAndPreserve(_) | GetItem => 2,
        Neg | Emit | PushLoop(_) | FastRecurse | UnpackList(_) => 1,
        BuildMap(pairs) => 2 * pairs,
        MergeKwargs(count) => *count,
        ApplyFilter(_, count, _)
        | PerformTest(_, count, _)
        | CallFunction(_, count)
        | CallMethod(_, count)
        | CallObject(count) => {
            let spread = || Error::new(ErrorKind::InvalidOperation, "it passes a list as arguments");
            usize::from(count.ok_or_else(spread)?)
        }
        _ => 0,
    })
}

/// What an operation takes fuel for.
#[derive(Clone, Copy, PartialEq)]
enum Charge {
    /// All that its operands contain.
    Operands,
    /// That and, for each item of the first operand, all that the others contain.
    ForEachItem,
    /// All that its operands contain, except a list or a dictionary in which an item is looked up.
    Lookup,
}

/// Takes fuel, and returns the operands last to first, as the stack takes them, with sequences that would be computed whenever they are
/// read as lists.
fn charged(state: &State, operands: &Value, charge: Charge) -> Result<Vec<Value>, Error> {
    let mut settled: Vec<Value> = Vec::new();
    // How often the operands after the first are worked through.
    let mut times = 1;
    for operand in operands.try_iter()? {
        let is_first = settled.is_empty();
        if is_first && charge == Charge::Lookup && operand.as_object().is_some() {
            settled.push(operand);
            continue;
        }
        let mut size = 0;
        measure(&operand, &mut size);
        if size > LARGEST_OPERAND {
            let reason = format!("an operation on more than {LARGEST_OPERAND} bytes");
            return Err(Error::new(ErrorKind::OutOfFuel, reason));
        }
        state.consume_fuel((size / OPERAND_BYTES_PER_FUEL * times) as u64)?;
        if is_first && charge == Charge::ForEachItem {
            times += operand
                .as_object()
                .and_then(|object| object.enumerator_len())
                .unwrap_or_default();
        }
        settled.push(match operand.as_object().map(|object| object.repr()) {
            Some(ObjectRepr::Seq | ObjectRepr::Iterable)
                if operand.downcast_object_ref::<Vec<Value>>().is_none()
                    && operand.downcast_object_ref::<Tuple>().is_none() =>
            {
                Value::from(operand.try_iter()?.checked().collect::<Result<Vec<_>, _>>()?)
            }
            _ => operand,
        });
    }
    settled.reverse();
    Ok(settled)
}

/// Adds the size of a value and of all that it contains, at least until it is more than an operand may have.
fn measure(value: &Value, size: &mut usize) {
    let limit = *size + LARGEST_OPERAND;
    let mut waiting = vec![value.clone()];
    while let Some(value) = waiting.pop() {
        *size += value.as_bytes().map_or(0, <[u8]>::len) + VALUE;
        let Some(object) = value.as_object() else { continue };
        let mut count = |inner: Value| {
            waiting.push(inner);
            *size + waiting.len() * VALUE <= limit
        };
        match object.repr() {
            ObjectRepr::Plain => {}
            ObjectRepr::Map => {
                let mut pairs = object.try_iter_pairs().into_iter().flatten();
                while pairs.next().is_some_and(|(key, value)| count(key) && count(value)) {}
            }
            ObjectRepr::Seq | ObjectRepr::Iterable => {
                let mut items = object.try_iter().into_iter().flatten();
                while items.next().is_some_and(&mut count) {}
            }
            _ => {}
        }
        if *size + waiting.len() * VALUE > limit {
            *size += waiting.len() * VALUE;
            return;
        }
    }
}

fn clause(error: Error) -> String {
    error.to_string().chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn render(source: &str) -> Result<String, String> {
        let rendered =
            JinjaTemplate::new(source, String::new(), String::new()).and_then(|own| own.render("system", "user"));
        rendered.map_err(RenderError::into_clause)
    }

    /// What the engine does not limit by itself: each would take minutes, or all memory.
    #[test]
    fn a_template_that_would_take_much_time_or_memory_ends_in_an_error_or_a_text() {
        let kilobytes = "{% set x = 'a' * 500000 %}";
        let each = |operation: &str| format!("{kilobytes}{{% for i in range(30000) %}}{operation}{{% endfor %}}");
        let doubled = |operation: &str| {
            format!(
                "{{% set k = namespace(x=[1]) %}}{{% for i in range(60) %}}{{% set k.x = {operation} %}}{{% endfor %}}"
            )
        };
        for source in [
            "{{ (['a'*10000]*400000)|join|length }}".to_owned(),
            "{{ ''.join(['a'*10000]*100000)|length }}".to_owned(),
            "{{ ([[1]*1000]*100000)|sum(start=[])|length }}".to_owned(),
            "{{ ([[[1]*1000]*1000]*1000)|string|length }}".to_owned(),
            "{{ [[1]*10000]*10000 }}".to_owned(),
            "{{ [[1]*10000]*10000 == [[1]*10000]*10000 }}".to_owned(),
            "{{ 2 in [1] * 100000000000 }}".to_owned(),
            "{{ [[[1]*1000]*1000]*1000 ~ '' }}".to_owned(),
            "{{ ([[1]*10000]*10000)|sort|length }}{{ ([[1]*10000]*10000)|unique|list|length }}".to_owned(),
            "{% for a in [1]*30000 %}{% for b in [1]*30000 %}{% endfor %}{% endfor %}".to_owned(),
            doubled("k.x + k.x") + "{{ k.x|length }}",
            doubled("[k.x, k.x]") + "{{ k.x }}",
            doubled("[k.x, k.x]") + "{{ k.x == k.x + [] }}",
            doubled("{'a': k.x, 'b': k.x}") + "{{ k.x|string|length }}",
            doubled("[k]") + "{{ k }}",
            each("{% if x is lower %}{% endif %}"),
            each("{% if x == x ~ '' %}{% endif %}"),
            each("{% if x.lower() %}{% endif %}"),
            each("{% set y = x|list %}"),
            each("{% set y = x.split('a') %}"),
            each("{% if x.count('aaaaab') %}{% endif %}"),
            each("{% set y = x[499999] %}"),
            format!(
                "{{% set l = range(32000) %}}{{% set x = {{{}}} %}}",
                "1:l,".repeat(4000)
            ),
            "{{ (['a'] * 30000)|map(attribute='0.' * 900000)|list|length }}".to_owned(),
            "{{ (['a'] * 300)|sort(attribute='0,' * 900000)|length }}".to_owned(),
            "{{ (['a'] * 30000)|map('trim', 'b' * 1900000)|list|length }}".to_owned(),
            format!(
                "{kilobytes}{{{{ (x ~ 'c').strip('b' * 500000 ~ 'a')|length }}}}{{{{ (x ~ 'c')|trim('b' * 500000 ~ 'a')|length }}}}"
            ),
        ] {
            let started = Instant::now();
            let rendered = render(&source);
            assert!(
                started.elapsed() < Duration::from_secs(10),
                "{source}: {:?}",
                started.elapsed()
            );
            match rendered {
                Ok(text) => assert!(text.len() < 4 * LONGEST_TEXT, "{source}"),
                Err(reason) => assert!(
                    [
                        "fuel",
                        "an operation on more than",
                        "too large",
                        "filter sum is unknown"
                    ]
                    .iter()
                    .any(|limit| reason.contains(limit)),
                    "{source}: {reason}"
                ),
            }
        }
    }

    #[test]
    fn expressions_give_the_same_with_all_operations_counted() {
        for (source, expected) in [
            (
                "{{ 1 + 2 * 3 - 4 // 3 }} {{ 2 * 3 ** 2 }} {{ 2 * -3 }} {{ 1.5 * 2 }}",
                "6 18 -6 3.0",
            ),
            (
                "{{ 'ab' * 3 }}{{ ([1] * 3 + [2])[1:] }}{{ 3 * 'x' }}",
                "ababab[1, 1, 2]xxx",
            ),
            (
                "{{ 'b' < 'a' < 'c' }} {{ 1 < 2 < 3 }} {{ 2 in [1, 2] }} {{ 'x' not in 'abc' }}",
                "False True True True",
            ),
            (
                "{% for m in messages if m.role == 'user' %}{{ loop.index }}{{ m.content }}{% else %}none{% endfor %}",
                "1user",
            ),
            (
                "{% for i in range(5) %}{% if i == 1 %}{% continue %}{% elif i == 3 %}{% break %}{% endif %}{{ i }}{% endfor %}",
                "02",
            ),
            (
                "{% for x in [[1, [2]], [3]] recursive %}{{ x if x is number else '(' ~ loop(x) ~ ')' }}{% endfor %}",
                "(1(2))(3)",
            ),
            (
                "{% macro m(a, b=2 * 3) %}{{ a }}-{{ b }};{{ caller() if caller }}{% endmacro %}{{ m(1) }}{% call m(1, b=5) %}c{% endcall %}",
                "1-6;1-5;c",
            ),
            (
                "{% set a, b = [1, 2] %}{{ a }}{{ b }}{% for k, v in {'z': 1, 'a': 2}.items() %}{{ k }}{{ v }}{% endfor %}",
                "12z1a2",
            ),
            (
                "{{ 'x-y'.split('-')[-1] }}{{ messages[1:]|map(attribute='role')|join(', ') }}{{ none or 'd' }}{{ u|default('e') }}",
                "yuserde",
            ),
            (
                "{{ ' a '.strip() }}{{ 'xaxbx'.strip('x') }}{{ 'xxa'.lstrip('x') }}{{ ' b '|trim }}{{ 'yby'|trim('y') }}",
                "aaxbabb",
            ),
            (
                "{{ tools is none }}{{ tools is defined }}{{ strftime_now is defined }}{{ (messages[0]).get('name') is none }}",
                "TrueTrueFalseTrue",
            ),
        ] {
            assert_eq!(render(source).as_deref(), Ok(expected), "{source}");
        }
    }

    #[test]
    fn templates_find_no_tools_and_no_documents() {
        for source in [
            "{% if not tools is defined %}{% set tools = [] %}{% endif %}{% if tools is iterable and tools|length > 0 %}some{% endif %}none",
            "{% if tools is not none and documents is not none %}some{% endif %}none",
            "{% if tools or documents %}some{% endif %}none",
        ] {
            assert_eq!(render(source).as_deref(), Ok("none"), "{source}");
        }
        assert_eq!(
            render("{{ [] is iterable }}{{ 'a' is iterable }}{{ 1 is iterable }}").unwrap(),
            "TrueTrueFalse"
        );
    }

    #[test]
    fn every_end_of_line_is_the_same() {
        let source = "{% if true %}\n{{ 'a\\n' }}b\n\n{%- endif %}\nc\n";
        let expected = render(source).unwrap();
        assert_eq!(expected, "a\nbc");
        for end in ["\r\n", "\r"] {
            assert_eq!(render(&source.replace('\n', end)).unwrap(), expected);
        }
    }

    #[test]
    fn a_dictionary_keeps_the_order_in_which_it_is_written() {
        assert_eq!(
            render("{{ {'z': 1, 'a': 2, 'm': 3} }}").unwrap(),
            "{'z': 1, 'a': 2, 'm': 3}"
        );
    }

    #[test]
    fn the_tags_around_what_an_assistant_says_have_no_effect() {
        assert_eq!(
            render("a {%- generation -%} b{% endgeneration %}\nc{% set generation = 1 %}{{ generation }}").unwrap(),
            "abc1"
        );
    }

    #[test]
    fn values_and_expressions_of_any_depth_end_in_an_error_or_a_text() {
        let text = "{{ messages[1].content }}";
        let brackets = |count: usize| format!("{{% set x = {}{} %}}{text}", "[".repeat(count), "]".repeat(count));
        assert_eq!(render(&brackets(20)).unwrap(), "user");
        assert!(render(&brackets(10_000)).unwrap_err().contains("recursion"));
        // Each turn puts the value into twenty more lists.
        let nested = |loops: &str, ends: &str| {
            let (open, close) = ("[".repeat(20), "]".repeat(20));
            format!("{{% set kept = namespace(x=0) %}}{loops}{{% set kept.x = {open}kept.x{close} %}}{ends}{text}")
        };
        let turns = |count: u32| (format!("{{% for i in range({count}) %}}"), "{% endfor %}");
        let (start, end) = turns(4000);
        assert_eq!(render(&nested(&start, end)).unwrap(), "user");
        assert!(
            render(&nested(&start.repeat(2), &end.repeat(2)))
                .unwrap_err()
                .contains("fuel")
        );
        let chain = format!("{{{{ 1{} }}}}{text}", "+1".repeat(10_000));
        assert_eq!(render(&chain).unwrap(), "10001user");
    }
}
