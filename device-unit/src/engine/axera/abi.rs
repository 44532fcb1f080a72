//! The binary interface of `libax_sys` and `libax_engine` (LP64): structures and function types.
//!
//! All structures are 128 bytes. Fields that are not set must be zero. The offsets are asserted below.

use std::ffi::{c_char, c_void};
use std::mem::{offset_of, size_of};

/// A loaded model.
pub type Handle = *mut c_void;
/// An execution context of a loaded model.
pub type Context = *mut c_void;

/// `AX_ENGINE_NPU_ATTR_T`: hard mode 0 is "virtual NPU off", the one the LLM models are compiled for.
#[repr(C)]
#[derive(Default)]
pub struct NpuAttributes {
    pub hard_mode: i32,
    pub reserved: [u32; 8],
}

/// One input or output of a model. Owned by the runtime, valid until the handle is destroyed.
#[repr(C)]
pub struct IoMeta {
    pub name: *const c_char,
    pub shape: *const i32,
    pub shape_len: u8,
    pub layout: i32,
    pub memory_type: i32,
    /// 1 u8, 2 u16, 3 f32, 4 i16, 5 i8, 6 i32, 7 u32. Not relied on, because bf16 tensors may be reported as u16; sizes are checked instead.
    pub data_type: i32,
    pub extra: *mut c_void,
    pub size: u32,
    pub quantisation: u32,
    pub stride: *const i32,
    pub reserved: [u64; 9],
}

/// All inputs and outputs of one shape group of a model.
#[repr(C)]
pub struct IoInfo {
    pub inputs: *const IoMeta,
    pub input_count: u32,
    pub outputs: *const IoMeta,
    pub output_count: u32,
    pub max_batch: u32,
    pub dynamic_batch: i32,
    pub reserved: [u64; 11],
}

/// One input or output buffer of a run.
#[repr(C)]
pub struct IoBuffer {
    pub physical: u64,
    pub virtual_address: *mut c_void,
    pub size: u32,
    pub stride: *const i32,
    pub stride_len: u8,
    pub reserved: [u64; 11],
}

/// All buffers of a run.
#[repr(C)]
pub struct Io {
    pub inputs: *const IoBuffer,
    pub input_count: u32,
    pub outputs: *const IoBuffer,
    pub output_count: u32,
    /// 0 = automatic.
    pub batch: u32,
    pub setting: *const c_void,
    pub reserved: [u64; 11],
}

const _: () = {
    assert!(size_of::<NpuAttributes>() == 36);
    assert!(size_of::<IoMeta>() == 128);
    assert!(offset_of!(IoMeta, shape) == 8 && offset_of!(IoMeta, shape_len) == 16 && offset_of!(IoMeta, layout) == 20);
    assert!(
        offset_of!(IoMeta, memory_type) == 24 && offset_of!(IoMeta, data_type) == 28 && offset_of!(IoMeta, extra) == 32
    );
    assert!(
        offset_of!(IoMeta, size) == 40 && offset_of!(IoMeta, quantisation) == 44 && offset_of!(IoMeta, stride) == 48
    );
    assert!(offset_of!(IoMeta, reserved) == 56);
    assert!(size_of::<IoInfo>() == 128);
    assert!(
        offset_of!(IoInfo, input_count) == 8
            && offset_of!(IoInfo, outputs) == 16
            && offset_of!(IoInfo, output_count) == 24
    );
    assert!(
        offset_of!(IoInfo, max_batch) == 28
            && offset_of!(IoInfo, dynamic_batch) == 32
            && offset_of!(IoInfo, reserved) == 40
    );
    assert!(size_of::<IoBuffer>() == 128);
    assert!(
        offset_of!(IoBuffer, virtual_address) == 8
            && offset_of!(IoBuffer, size) == 16
            && offset_of!(IoBuffer, stride) == 24
    );
    assert!(offset_of!(IoBuffer, stride_len) == 32 && offset_of!(IoBuffer, reserved) == 40);
    assert!(size_of::<Io>() == 128);
    assert!(offset_of!(Io, input_count) == 8 && offset_of!(Io, outputs) == 16 && offset_of!(Io, output_count) == 24);
    assert!(offset_of!(Io, batch) == 28 && offset_of!(Io, setting) == 32 && offset_of!(Io, reserved) == 40);
};

pub type Plain = unsafe extern "C" fn() -> i32;
pub type MemAlloc = unsafe extern "C" fn(*mut u64, *mut *mut c_void, u32, u32, *const c_char) -> i32;
pub type MemFree = unsafe extern "C" fn(u64, *mut c_void) -> i32;
pub type CacheOp = unsafe extern "C" fn(u64, *mut c_void, u32) -> i32;
pub type EngineInit = unsafe extern "C" fn(*mut NpuAttributes) -> i32;
pub type EngineVersion = unsafe extern "C" fn() -> *const c_char;
pub type CreateHandle = unsafe extern "C" fn(*mut Handle, *const c_void, u32) -> i32;
pub type OnHandle = unsafe extern "C" fn(Handle) -> i32;
pub type CreateContextV2 = unsafe extern "C" fn(Handle, *mut Context) -> i32;
pub type GroupCount = unsafe extern "C" fn(Handle, *mut u32) -> i32;
pub type GroupInfo = unsafe extern "C" fn(Handle, u32, *mut *mut IoInfo) -> i32;
pub type RunSync = unsafe extern "C" fn(Handle, *mut Io) -> i32;
pub type RunGroupSync = unsafe extern "C" fn(Handle, Context, u32, *mut Io) -> i32;
