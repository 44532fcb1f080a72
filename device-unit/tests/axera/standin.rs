//! A stand-in for the module's runtime libraries, with the same exported functions, which computes results. For tests only, which build
//! it as a shared library, because a development machine has no NPU.
//!
//! Its model files (see `Model::parse`) hold one decoder layer of a small Qwen2, or the final norm and the output matrix. A layer is
//! evaluated in f32 on bf16 tensors, as in the module's compiled layers: RMSNorm, attention with rotary positions from `indices` and the
//! given additive mask, SwiGLU.
//!
//! It is stricter than hardware: outputs are visible only after their cache is invalidated, buffers are addressed by their physical
//! address, guards behind each buffer are checked, and unused fields must be zero. Anything else is recorded as a violation that the test
//! reads. Any call can be made to fail.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::collections::BTreeMap;
use std::ffi::{c_char, c_void, CStr};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

const FAILED: i32 = 0x8006_0010_u32 as i32;
const PHYSICAL: u64 = 0x4000_0000_0000;
const GUARD: usize = 128;
const GUARD_BYTE: u8 = 0xA5;

struct Allocation {
    address: usize,
    len: usize,
    /// Outputs that have not been invalidated yet.
    pending: Option<Vec<u8>>,
    cached: bool,
}

#[derive(Default)]
struct State {
    sys_inits: i32,
    engine_inits: i32,
    allocations: BTreeMap<u64, Allocation>,
    handles: BTreeMap<usize, Box<Loaded>>,
    next_handle: usize,
    log: Vec<String>,
    violations: Vec<String>,
    calls: u64,
    fail_at: u64,
    releases: u64,
    fail_release_at: u64,
    /// Set when the call with this number is made.
    flag: Option<(u64, usize)>,
    /// The input of each layer's last prefill.
    prefilled: BTreeMap<usize, Vec<u8>>,
}

impl State {
    /// Counts a call; returns `true` if it must fail.
    fn enter(&mut self, what: String) -> bool {
        self.log.push(what);
        self.calls += 1;
        if let Some((_, flag)) = self.flag.take_if(|(at, _)| *at == self.calls) {
            // The test keeps the flag alive until it resets it.
            unsafe { &*(flag as *const AtomicBool) }.store(true, Ordering::Relaxed);
        }
        self.calls == self.fail_at
    }

    /// Returns the result of a release, which has been done in any case.
    fn leave(&mut self) -> i32 {
        self.releases += 1;
        if self.releases == self.fail_release_at { FAILED } else { 0 }
    }

    fn violation(&mut self, what: String) {
        self.violations.push(what);
    }
}

static STATE: Mutex<Option<State>> = Mutex::new(None);

fn with<T>(work: impl FnOnce(&mut State) -> T) -> T {
    let mut state = STATE.lock().unwrap_or_else(|e| e.into_inner());
    work(state.get_or_insert_with(State::default))
}

// ---- control by tests ----------------------------------------------------------------------------------------------

/// Clears the log, the violations and earlier plans; the call with the number `fail_at` then fails (0: none).
#[unsafe(no_mangle)]
pub extern "C" fn standin_reset(fail_at: u64) {
    with(|s| {
        s.log.clear();
        s.violations.clear();
        s.calls = 0;
        s.fail_at = fail_at;
        s.releases = 0;
        s.fail_release_at = 0;
        s.flag = None;
    });
}

/// Makes the release with the number `fail_at` report a failure.
#[unsafe(no_mangle)]
pub extern "C" fn standin_fail_release(fail_at: u64) {
    with(|s| {
        s.releases = 0;
        s.fail_release_at = fail_at;
    });
}

/// Sets `flag` while the call with the number `at` runs. The flag must live until then, or until the next reset.
#[unsafe(no_mangle)]
pub extern "C" fn standin_set_at(at: u64, flag: *const AtomicBool) {
    with(|s| s.flag = Some((at, flag as usize)));
}

/// `what`: 0 the log, 1 violations, 2 what is still held, 3 the first layer's input of the last prefill, in hex. Writes at most `len` bytes, returns how many there are.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn standin_report(what: i32, out: *mut u8, len: usize) -> usize {
    let text = with(|s| match what {
        0 => s.log.join("\n"),
        1 => s.violations.join("\n"),
        3 => s.prefilled.values().next().into_iter().flatten().map(|byte| format!("{byte:02x}")).collect(),
        _ => {
            let mut held: Vec<String> = s.allocations.values().map(|a| format!("buffer of {}", a.len)).collect();
            held.extend(s.handles.keys().map(|h| format!("handle {h}")));
            if s.sys_inits != 0 || s.engine_inits != 0 {
                held.push(format!("inits {} {}", s.sys_inits, s.engine_inits));
            }
            held.join("\n")
        }
    });
    let n = text.len().min(len);
    unsafe { std::ptr::copy_nonoverlapping(text.as_ptr(), out, n) };
    text.len()
}

// ---- libax_sys -----------------------------------------------------------------------------------------------------

#[unsafe(no_mangle)]
pub extern "C" fn AX_SYS_Init() -> i32 {
    with(|s| {
        if s.enter("sys init".into()) {
            return FAILED;
        }
        s.sys_inits += 1;
        0
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn AX_SYS_Deinit() -> i32 {
    with(|s| {
        s.log.push("sys deinit".into());
        s.sys_inits -= 1;
        if s.engine_inits != 0 || !s.allocations.is_empty() || !s.handles.is_empty() {
            s.violation("AX_SYS_Deinit before everything was given back".into());
        }
        s.leave()
    })
}

fn layout(len: usize) -> Layout {
    Layout::from_size_align(len + GUARD, 128).expect("a layout")
}

fn allocate(physical: *mut u64, address: *mut *mut c_void, size: u32, align: u32, token: *const c_char, cached: bool) -> i32 {
    with(|s| {
        let kind = if cached { "cached" } else { "uncached" };
        if s.enter(format!("alloc {kind} {size}")) {
            return FAILED;
        }
        if align != 128 {
            s.violation(format!("alignment {align}"));
        }
        let token = unsafe { CStr::from_ptr(token) };
        if token != c"npu" {
            s.violation(format!("token {token:?}"));
        }
        if s.sys_inits != 1 {
            s.violation("allocation before AX_SYS_Init".into());
        }
        let len = size as usize;
        let memory = unsafe { alloc_zeroed(layout(len)) };
        // Fresh memory is not zeroed on the device, so it is filled with a pattern that is NaN in bf16.
        unsafe { std::ptr::write_bytes(memory, 0xFF, len) };
        unsafe { std::ptr::write_bytes(memory.add(len), GUARD_BYTE, GUARD) };
        let phy = memory as u64 ^ PHYSICAL;
        s.allocations.insert(phy, Allocation { address: memory as usize, len, pending: None, cached });
        unsafe {
            *physical = phy;
            *address = memory.cast();
        }
        0
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn AX_SYS_MemAlloc(p: *mut u64, v: *mut *mut c_void, size: u32, align: u32, token: *const c_char) -> i32 {
    allocate(p, v, size, align, token, false)
}

#[unsafe(no_mangle)]
pub extern "C" fn AX_SYS_MemAllocCached(p: *mut u64, v: *mut *mut c_void, size: u32, align: u32, token: *const c_char) -> i32 {
    allocate(p, v, size, align, token, true)
}

#[unsafe(no_mangle)]
pub extern "C" fn AX_SYS_MemFree(phy: u64, address: *mut c_void) -> i32 {
    with(|s| {
        s.log.push("free".into());
        let Some(a) = s.allocations.remove(&phy) else {
            s.violation("a buffer freed twice or never allocated".into());
            return FAILED;
        };
        if a.address != address as usize {
            s.violation("physical and virtual address do not belong together".into());
        }
        let guard = unsafe { std::slice::from_raw_parts((a.address + a.len) as *const u8, GUARD) };
        if guard.iter().any(|b| *b != GUARD_BYTE) {
            s.violation(format!("written beyond a buffer of {}", a.len));
        }
        unsafe { dealloc(a.address as *mut u8, layout(a.len)) };
        s.leave()
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn AX_SYS_MflushCache(_: u64, _: *mut c_void, _: u32) -> i32 {
    with(|s| if s.enter("flush".into()) { FAILED } else { 0 })
}

#[unsafe(no_mangle)]
pub extern "C" fn AX_SYS_MinvalidateCache(phy: u64, address: *mut c_void, size: u32) -> i32 {
    with(|s| {
        if s.enter("invalidate".into()) {
            return FAILED;
        }
        let Some(a) = s.allocations.get_mut(&phy) else {
            s.violation("an unknown buffer was invalidated".into());
            return FAILED;
        };
        let whole = a.address == address as usize && a.len == size as usize && a.cached;
        if let Some(bytes) = a.pending.take() {
            unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), a.address as *mut u8, bytes.len()) };
        }
        if !whole {
            s.violation("a buffer was invalidated in part, or is not cached".into());
        }
        0
    })
}

// ---- libax_engine --------------------------------------------------------------------------------------------------

#[repr(C)]
struct Meta {
    name: *const c_char,
    shape: *const i32,
    shape_len: u8,
    layout: i32,
    memory_type: i32,
    data_type: i32,
    extra: *mut c_void,
    size: u32,
    quantisation: u32,
    stride: *const i32,
    reserved: [u64; 9],
}

#[repr(C)]
pub struct Info {
    inputs: *const Meta,
    input_count: u32,
    outputs: *const Meta,
    output_count: u32,
    max_batch: u32,
    dynamic_batch: i32,
    reserved: [u64; 11],
}

#[repr(C)]
struct IoBuffer {
    physical: u64,
    address: *mut c_void,
    size: u32,
    stride: *const i32,
    stride_len: u8,
    reserved: [u64; 11],
}

#[repr(C)]
pub struct Io {
    inputs: *const IoBuffer,
    input_count: u32,
    outputs: *const IoBuffer,
    output_count: u32,
    batch: u32,
    setting: *const c_void,
    reserved: [u64; 11],
}

struct Loaded {
    model: Model,
    infos: Vec<Box<Info>>,
    // Kept for the pointers inside `infos`.
    _metas: Vec<Vec<Meta>>,
    context: bool,
    context_v2: bool,
}

unsafe impl Send for Loaded {}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn AX_ENGINE_Init(attributes: *mut [u32; 9]) -> i32 {
    with(|s| {
        if s.enter("engine init".into()) {
            return FAILED;
        }
        if unsafe { *attributes } != [0; 9] {
            s.violation("the NPU attributes are not zeroed".into());
        }
        if s.sys_inits != 1 {
            s.violation("AX_ENGINE_Init before AX_SYS_Init".into());
        }
        s.engine_inits += 1;
        0
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn AX_ENGINE_Deinit() -> i32 {
    with(|s| {
        s.log.push("engine deinit".into());
        s.engine_inits -= 1;
        if !s.handles.is_empty() {
            s.violation("AX_ENGINE_Deinit before every handle was destroyed".into());
        }
        s.leave()
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn AX_ENGINE_GetVersion() -> *const c_char {
    c"stand-in 1.0".as_ptr()
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn AX_ENGINE_CreateHandle(out: *mut *mut c_void, data: *const c_void, len: u32) -> i32 {
    with(|s| {
        if s.enter("create handle".into()) {
            return FAILED;
        }
        if s.engine_inits != 1 {
            s.violation("a handle before AX_ENGINE_Init".into());
        }
        let bytes = unsafe { std::slice::from_raw_parts(data.cast::<u8>(), len as usize) };
        let Some(model) = Model::parse(bytes) else { return FAILED };
        let mut infos = Vec::new();
        let mut metas = Vec::new();
        for group in 0..model.groups() {
            let (inputs, outputs) = model.tensors(group);
            let meta = |list: Vec<(&'static CStr, u32)>| -> Vec<Meta> {
                list.into_iter()
                    .map(|(name, size)| Meta {
                        name: name.as_ptr(),
                        shape: std::ptr::null(),
                        shape_len: 0,
                        layout: 0,
                        memory_type: 0,
                        data_type: 2,
                        extra: std::ptr::null_mut(),
                        size,
                        quantisation: 0,
                        stride: std::ptr::null(),
                        reserved: [0; 9],
                    })
                    .collect()
            };
            let (inputs, outputs) = (meta(inputs), meta(outputs));
            infos.push(Box::new(Info {
                inputs: inputs.as_ptr(),
                input_count: inputs.len() as u32,
                outputs: outputs.as_ptr(),
                output_count: outputs.len() as u32,
                max_batch: 1,
                dynamic_batch: 0,
                reserved: [0; 11],
            }));
            metas.push(inputs);
            metas.push(outputs);
        }
        s.next_handle += 1;
        let handle = s.next_handle;
        s.handles.insert(handle, Box::new(Loaded { model, infos, _metas: metas, context: false, context_v2: false }));
        unsafe { *out = handle as *mut c_void };
        0
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn AX_ENGINE_DestroyHandle(handle: *mut c_void) -> i32 {
    with(|s| {
        s.log.push("destroy handle".into());
        if s.handles.remove(&(handle as usize)).is_none() {
            s.violation("a handle destroyed twice".into());
            return FAILED;
        }
        s.prefilled.remove(&(handle as usize));
        s.leave()
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn AX_ENGINE_CreateContext(handle: *mut c_void) -> i32 {
    with(|s| {
        if s.enter("create context".into()) {
            return FAILED;
        }
        match s.handles.get_mut(&(handle as usize)) {
            Some(loaded) => {
                loaded.context = true;
                0
            }
            None => FAILED,
        }
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn AX_ENGINE_CreateContextV2(handle: *mut c_void, out: *mut *mut c_void) -> i32 {
    with(|s| {
        if s.enter("create context v2".into()) {
            return FAILED;
        }
        match s.handles.get_mut(&(handle as usize)) {
            Some(loaded) => {
                loaded.context_v2 = true;
                unsafe { *out = (handle as usize + 1_000_000) as *mut c_void };
                0
            }
            None => FAILED,
        }
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn AX_ENGINE_GetGroupIOInfoCount(handle: *mut c_void, out: *mut u32) -> i32 {
    with(|s| {
        if s.enter("group count".into()) {
            return FAILED;
        }
        match s.handles.get(&(handle as usize)) {
            Some(loaded) => {
                unsafe { *out = loaded.infos.len() as u32 };
                0
            }
            None => FAILED,
        }
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn AX_ENGINE_GetGroupIOInfo(handle: *mut c_void, index: u32, out: *mut *mut Info) -> i32 {
    with(|s| {
        if s.enter(format!("group info {index}")) {
            return FAILED;
        }
        match s.handles.get_mut(&(handle as usize)).and_then(|l| l.infos.get_mut(index as usize)) {
            Some(info) => {
                unsafe { *out = &raw mut **info };
                0
            }
            None => FAILED,
        }
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn AX_ENGINE_RunSync(handle: *mut c_void, io: *mut Io) -> i32 {
    run(handle, 0, io, true, "run")
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn AX_ENGINE_RunGroupIOSync(handle: *mut c_void, context: *mut c_void, group: u32, io: *mut Io) -> i32 {
    run(handle, group, io, context as usize == handle as usize + 1_000_000, "run group")
}

fn run(handle: *mut c_void, group: u32, io: *mut Io, context_ok: bool, what: &str) -> i32 {
    with(|s| {
        if s.enter(format!("{what} {group}")) {
            return FAILED;
        }
        let io = unsafe { &*io };
        if io.batch != 0 || !io.setting.is_null() || io.reserved != [0; 11] || !context_ok {
            s.violation("the run's structure is not zeroed, or its context is another's".into());
        }
        let Some(loaded) = s.handles.remove(&(handle as usize)) else {
            s.violation("a run on a destroyed handle".into());
            return FAILED;
        };
        if !loaded.context || !loaded.context_v2 {
            s.violation("a run without both contexts".into());
        }
        let (wanted_in, wanted_out) = loaded.model.tensors(group);
        let inputs = unsafe { std::slice::from_raw_parts(io.inputs, io.input_count as usize) };
        let outputs = unsafe { std::slice::from_raw_parts(io.outputs, io.output_count as usize) };
        if inputs.len() != wanted_in.len() || outputs.len() != wanted_out.len() {
            s.violation("a run with missing buffers".into());
        }
        for (buffer, (name, size)) in inputs.iter().zip(&wanted_in).chain(outputs.iter().zip(&wanted_out)) {
            let fits = s.allocations.get(&buffer.physical).is_some_and(|a| {
                a.len == *size as usize && buffer.size == *size && a.address == buffer.address as usize
            });
            if !fits || buffer.reserved != [0; 11] || !buffer.stride.is_null() || buffer.stride_len != 0 {
                s.violation(format!("buffer {name:?}: wrong size or address, or not zeroed"));
            }
        }
        let read = |s: &State, buffer: &IoBuffer| -> Vec<u8> {
            match s.allocations.get(&buffer.physical) {
                Some(a) => unsafe { std::slice::from_raw_parts(a.address as *const u8, a.len) }.to_vec(),
                None => Vec::new(),
            }
        };
        let data: Vec<Vec<u8>> = inputs.iter().map(|buffer| read(s, buffer)).collect();
        loaded.model.check(group, &data).into_iter().for_each(|what| s.violation(what));
        if loaded.model.kind == 0 && group == 1 {
            s.prefilled.insert(handle as usize, data[3].clone());
        }
        let made = loaded.model.run(group, &data);
        for (buffer, bytes) in outputs.iter().zip(made) {
            if let Some(a) = s.allocations.get_mut(&buffer.physical) {
                if !a.cached {
                    s.violations.push("an output in uncached memory".into());
                }
                a.pending = Some(bytes);
            }
        }
        s.handles.insert(handle as usize, loaded);
        0
    })
}

// ---- the models ----------------------------------------------------------------------------------------------------

/// Header words of a model file, little-endian u32 after the magic: kind (0 layer, 1 post), hidden, heads, kv heads, head width,
/// feed-forward width, cache length, prefill length, vocabulary; then f32 rope base and epsilon; then the weights as f32.
struct Model {
    kind: u32,
    hidden: usize,
    heads: usize,
    kv_heads: usize,
    width: usize,
    feed: usize,
    kv_len: usize,
    prefill: usize,
    vocab: usize,
    base: f32,
    epsilon: f32,
    weights: Vec<f32>,
}

fn bf16_to_f32(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

fn f32_to_bf16(value: f32) -> u16 {
    if value.is_nan() {
        return 0x7FC0;
    }
    let bits = value.to_bits();
    ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16) as u16
}

fn words(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(2).map(|b| bf16_to_f32(u16::from_le_bytes([b[0], b[1]]))).collect()
}

fn to_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| f32_to_bf16(*v).to_le_bytes()).collect()
}

/// y = W x, with the rows of W concatenated.
fn product(weights: &[f32], x: &[f32]) -> Vec<f32> {
    weights.chunks_exact(x.len()).map(|row| row.iter().zip(x).map(|(w, x)| w * x).sum()).collect()
}

fn rms_norm(x: &[f32], weight: &[f32], epsilon: f32) -> Vec<f32> {
    let mean = x.iter().map(|v| v * v).sum::<f32>() / x.len() as f32;
    let scale = 1.0 / (mean + epsilon).sqrt();
    x.iter().zip(weight).map(|(v, w)| v * scale * w).collect()
}

impl Model {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(b"STANDIN1")?;
        let word = |i: usize| Some(u32::from_le_bytes(rest.get(i * 4..i * 4 + 4)?.try_into().ok()?));
        let size = |i: usize| Some(word(i)? as usize);
        let weights = rest.get(44..)?.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        let model = Self {
            kind: word(0)?,
            hidden: size(1)?,
            heads: size(2)?,
            kv_heads: size(3)?,
            width: size(4)?,
            feed: size(5)?,
            kv_len: size(6)?,
            prefill: size(7)?,
            vocab: size(8)?,
            base: f32::from_bits(word(9)?),
            epsilon: f32::from_bits(word(10)?),
            weights,
        };
        let (h, q, kv, f) = (model.hidden, model.heads * model.width, model.kv_heads * model.width, model.feed);
        let wanted =
            if model.kind == 0 { h + q * h + q + 2 * (kv * h + kv) + h * q + h + 3 * f * h } else { h + model.vocab * h };
        (model.weights.len() == wanted).then_some(model)
    }

    fn groups(&self) -> u32 {
        if self.kind == 0 { 2 } else { 1 }
    }

    fn tensors(&self, group: u32) -> (Vec<(&'static CStr, u32)>, Vec<(&'static CStr, u32)>) {
        let (h, kv) = (self.hidden, self.kv_heads * self.width);
        let size = |n: usize| n as u32;
        if self.kind == 1 {
            return (vec![(c"input", size(h * 2))], vec![(c"output", size(self.vocab * 2))]);
        }
        let (rows, mask) = if group == 0 { (1, self.kv_len + 1) } else { (self.prefill, self.prefill * self.prefill) };
        // Some builds have dummy caches in prefill; here too, so that tests detect sharing or skipping them.
        let cache = if group == 0 { self.kv_len * kv * 2 } else { 2 };
        (
            vec![
                (c"K_cache", size(cache)),
                (c"V_cache", size(cache)),
                (c"indices", size(rows * 4)),
                (c"input", size(rows * h * 2)),
                (c"mask", size(mask * 2)),
            ],
            vec![
                (c"K_cache_out", size(rows * kv * 2)),
                (c"V_cache_out", size(rows * kv * 2)),
                (c"output", size(rows * h * 2)),
            ],
        )
    }

    /// Returns the violations of PROTOCOL 6.5 in a layer's inputs.
    fn check(&self, group: u32, inputs: &[Vec<u8>]) -> Vec<String> {
        const MASKED: f32 = -65536.0;
        let mut found = Vec::new();
        if self.kind != 0 {
            return found;
        }
        let indices: Vec<u32> = inputs[2].chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        let mask = words(&inputs[4]);
        if group == 1 {
            if !indices.iter().copied().eq(0..self.prefill as u32) {
                found.push(format!("prefill's indices are {indices:?}"));
            }
            let seen = |row: usize, column: usize| if column <= row { 0.0 } else { MASKED };
            if (0..mask.len()).any(|i| mask[i] != seen(i / self.prefill, i % self.prefill)) {
                found.push("prefill's mask is not causal over the whole window".into());
            }
            return found;
        }
        let position = indices[0] as usize;
        let seen = |column: usize| if column < position || column == self.kv_len { 0.0 } else { MASKED };
        if (0..mask.len()).any(|column| mask[column] != seen(column)) {
            found.push(format!("decode's mask at {position} shows other columns than those before it and its own"));
        }
        // A masked column has the weight 0, but 0 times NaN is NaN.
        let width = self.kv_heads * self.width;
        if inputs[..2].iter().any(|cache| words(cache)[position * width..].iter().any(|value| *value != 0.0)) {
            found.push(format!("a cache holds something at or behind {position}"));
        }
        found
    }

    fn run(&self, group: u32, inputs: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let mut weights = self.weights.as_slice();
        let mut take = |n: usize| {
            let (head, tail) = weights.split_at(n);
            weights = tail;
            head
        };
        let h = self.hidden;
        if self.kind == 1 {
            let x = rms_norm(&words(&inputs[0]), take(h), self.epsilon);
            return vec![to_bytes(&product(take(self.vocab * h), &x))];
        }
        let (q_width, kv_width) = (self.heads * self.width, self.kv_heads * self.width);
        let norm1 = take(h);
        let (wq, bq) = (take(q_width * h), take(q_width));
        let (wk, bk) = (take(kv_width * h), take(kv_width));
        let (wv, bv) = (take(kv_width * h), take(kv_width));
        let wo = take(h * q_width);
        let norm2 = take(h);
        let (gate, up, down) = (take(self.feed * h), take(self.feed * h), take(h * self.feed));

        let indices: Vec<u32> = inputs[2].chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        let x = words(&inputs[3]);
        let mask = words(&inputs[4]);
        let add = |mut v: Vec<f32>, b: &[f32]| {
            v.iter_mut().zip(b).for_each(|(v, b)| *v += b);
            v
        };
        let (mut queries, mut keys, mut values) = (Vec::new(), Vec::new(), Vec::new());
        for (row, position) in x.chunks_exact(h).zip(&indices) {
            let n = rms_norm(row, norm1, self.epsilon);
            queries.push(self.rotate(add(product(wq, &n), bq), *position));
            keys.push(self.rotate(add(product(wk, &n), bk), *position));
            values.push(add(product(wv, &n), bv));
        }
        let round = |rows: Vec<Vec<f32>>| -> Vec<f32> { rows.concat().iter().map(|v| bf16_to_f32(f32_to_bf16(*v))).collect() };
        let (new_k, new_v) = (round(keys), round(values));
        let (all_k, all_v) = if group == 0 {
            ([words(&inputs[0]), new_k.clone()].concat(), [words(&inputs[1]), new_v.clone()].concat())
        } else {
            (new_k.clone(), new_v.clone())
        };
        let columns = all_k.len() / kv_width;
        let mut output = Vec::new();
        for (index, (row, query)) in x.chunks_exact(h).zip(&queries).enumerate() {
            let mask = &mask[index * columns..(index + 1) * columns];
            let mut attended = vec![0f32; q_width];
            for head in 0..self.heads {
                let kv = head / (self.heads / self.kv_heads) * self.width;
                let q = &query[head * self.width..(head + 1) * self.width];
                let scores: Vec<f32> = (0..columns)
                    .map(|c| {
                        let k = &all_k[c * kv_width + kv..c * kv_width + kv + self.width];
                        q.iter().zip(k).map(|(q, k)| q * k).sum::<f32>() / (self.width as f32).sqrt() + mask[c]
                    })
                    .collect();
                let top = scores.iter().copied().fold(f32::MIN, f32::max);
                let weights: Vec<f32> = scores.iter().map(|s| (s - top).exp()).collect();
                let total: f32 = weights.iter().sum();
                for (c, weight) in weights.iter().enumerate() {
                    let v = &all_v[c * kv_width + kv..c * kv_width + kv + self.width];
                    for (out, v) in attended[head * self.width..].iter_mut().zip(v) {
                        *out += weight / total * v;
                    }
                }
            }
            let middle = add(product(wo, &attended), row);
            let n = rms_norm(&middle, norm2, self.epsilon);
            let inner: Vec<f32> =
                product(gate, &n).iter().zip(product(up, &n)).map(|(g, u)| g / (1.0 + (-g).exp()) * u).collect();
            output.push(add(product(down, &inner), &middle));
        }
        vec![to_bytes(&new_k), to_bytes(&new_v), to_bytes(&output.concat())]
    }

    /// Rotary positions, halves paired, as Qwen2 has them.
    fn rotate(&self, mut vector: Vec<f32>, position: u32) -> Vec<f32> {
        let half = self.width / 2;
        for head in vector.chunks_exact_mut(self.width) {
            for i in 0..half {
                let angle = position as f32 * self.base.powf(-(2.0 * i as f32) / self.width as f32);
                let (sin, cos) = angle.sin_cos();
                let (a, b) = (head[i], head[i + half]);
                head[i] = a * cos - b * sin;
                head[i + half] = a * sin + b * cos;
            }
        }
        vector
    }
}
