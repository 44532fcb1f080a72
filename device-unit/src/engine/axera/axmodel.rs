#![allow(unsafe_code)] // The binding to compiled models: each block states what makes it sound.

//! A compiled model file: its handle, its shape groups, and a buffer for every input and output of every group.
//!
//! Each group has buffers of its own, even for inputs that groups could share: sharing them makes prefill fail with some models.

use std::ffi::{CStr, c_void};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use memmap2::Mmap;
use softprefix_core::bilingual;

use super::abi::{self, Context, Handle};
use super::memory::{Caching, DeviceBuffer};
use super::runtime::Runtime;
use crate::engine::EngineError;
use crate::errors::LoadError;

/// One input or output.
pub struct Tensor {
    pub name: String,
    pub buffer: DeviceBuffer,
}

/// One shape group. In a layer, group 0 is decode and group 1 is prefill.
pub struct Group {
    pub inputs: Vec<Tensor>,
    pub outputs: Vec<Tensor>,
}

/// A loaded model file. Dropping it frees its buffers, then its handle.
pub struct AxModel {
    path: PathBuf,
    // Declared before the handle, so that buffers are freed first.
    groups: Vec<Group>,
    context: Context,
    handle: OwnedHandle,
}

struct OwnedHandle {
    runtime: Arc<Runtime>,
    raw: Handle,
}

// SAFETY: the handle is used by one thread at a time (`&mut AxModel` for every run); the runtime does not tie it to a thread.
unsafe impl Send for OwnedHandle {}
// SAFETY: the context belongs to the handle beside it and is used under the same `&mut`.
unsafe impl Send for AxModel {}

impl Drop for OwnedHandle {
    fn drop(&mut self) {
        // SAFETY: made by CreateHandle of the same runtime and destroyed once.
        let code = unsafe { (self.runtime.api.destroy_handle)(self.raw) };
        if code != 0 {
            tracing::warn!("AX_ENGINE_DestroyHandle failed with code {code:#x}");
        }
    }
}

impl AxModel {
    /// Loads a file and allocates the buffers of its groups. The file is not needed afterwards.
    ///
    /// # Errors
    /// [`LoadError::Unreadable`], [`LoadError::BadFile`], and [`LoadError::Engine`] if a call of the runtime fails.
    pub fn load(runtime: &Arc<Runtime>, path: &Path) -> Result<Self, LoadError> {
        let unreadable = |source| LoadError::Unreadable {
            path: path.to_owned(),
            source,
        };
        let file = softprefix_core::files::open(path).map_err(unreadable)?;
        // SAFETY: the mapping lives for the next call only. A file that is modified meanwhile is as broken as one that is modified while
        // it is read.
        let bytes = unsafe { Mmap::map(&file) }.map_err(unreadable)?;
        let len = u32::try_from(bytes.len())
            .map_err(|_| LoadError::bad_file(path, bilingual!("it is larger than 4 GiB", "4 GiB を超えています")))?;

        let refused = |call: &str, code: i32| {
            LoadError::bad_file(
                path,
                bilingual!(
                    "{call} refused it with code {code:#x} (damaged, compiled for another chip, or no NPU memory left)",
                    "{call} がコード {code:#x} で拒否しました（破損しているか、別のチップ用か、NPU のメモリーが足りません）"
                ),
            )
        };
        let api = &runtime.api;
        let mut raw: Handle = std::ptr::null_mut();
        // SAFETY: `raw` outlives the call, and the bytes are mapped for its length.
        let code = unsafe { (api.create_handle)(&raw mut raw, bytes.as_ptr().cast::<c_void>(), len) };
        if code != 0 || raw.is_null() {
            return Err(refused("AX_ENGINE_CreateHandle", code));
        }
        let handle = OwnedHandle {
            runtime: Arc::clone(runtime),
            raw,
        };
        drop(bytes);

        let mut context: Context = std::ptr::null_mut();
        let mut count = 0u32;
        // SAFETY: the handle is alive; results go to live variables.
        unsafe {
            match (api.create_context)(handle.raw) {
                0 => {}
                code => return Err(refused("AX_ENGINE_CreateContext", code)),
            }
            match (api.create_context_v2)(handle.raw, &raw mut context) {
                0 => {}
                code => return Err(refused("AX_ENGINE_CreateContextV2", code)),
            }
            match (api.group_count)(handle.raw, &raw mut count) {
                0 => {}
                code => return Err(refused("AX_ENGINE_GetGroupIOInfoCount", code)),
            }
        }
        let mut groups = Vec::new();
        for index in 0..count {
            let mut info: *mut abi::IoInfo = std::ptr::null_mut();
            // SAFETY: the handle is alive and `index` is below its group count; the description stays valid as long as the handle.
            let code = unsafe { (api.group_info)(handle.raw, index, &raw mut info) };
            if code != 0 || info.is_null() {
                return Err(refused("AX_ENGINE_GetGroupIOInfo", code));
            }
            // SAFETY: not null, and owned by the handle, which lives until after this block.
            let (inputs, outputs) = unsafe {
                let info = &*info;
                (
                    tensors(runtime, info.inputs, info.input_count, Caching::Uncached)?,
                    tensors(runtime, info.outputs, info.output_count, Caching::Cached)?,
                )
            };
            groups.push(Group { inputs, outputs });
        }
        Ok(Self {
            path: path.to_owned(),
            groups,
            context,
            handle,
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// Returns an input by name.
    pub fn input(&mut self, group: usize, name: &str) -> Result<&mut DeviceBuffer, EngineError> {
        let missing = missing(&self.path, group, name);
        self.groups
            .get_mut(group)
            .and_then(|group| group.inputs.iter_mut().find(|tensor| tensor.name == name))
            .map(|tensor| &mut tensor.buffer)
            .ok_or(missing)
    }

    /// Returns an output by name. Its contents are valid after [`invalidate`](DeviceBuffer::invalidate).
    pub fn output(&self, group: usize, name: &str) -> Result<&DeviceBuffer, EngineError> {
        self.groups
            .get(group)
            .and_then(|group| group.outputs.iter().find(|tensor| tensor.name == name))
            .map(|tensor| &tensor.buffer)
            .ok_or_else(|| missing(&self.path, group, name))
    }

    /// Runs one group and invalidates its outputs, so that they can be read.
    pub fn run_group(&mut self, group: usize) -> Result<(), EngineError> {
        let context = self.context;
        self.run(group, "AX_ENGINE_RunGroupIOSync", |api, handle, io| {
            // SAFETY: handle and context belong together; `io` and the buffers it points to live through the synchronous call.
            unsafe { (api.run_group_sync)(handle, context, group as u32, io) }
        })
    }

    /// Runs a model with a single group.
    pub fn run_single(&mut self) -> Result<(), EngineError> {
        // SAFETY: as above.
        self.run(0, "AX_ENGINE_RunSync", |api, handle, io| unsafe {
            (api.run_sync)(handle, io)
        })
    }

    fn run(
        &mut self,
        index: usize,
        call: &str,
        run: impl FnOnce(&super::runtime::Api, Handle, *mut abi::Io) -> i32,
    ) -> Result<(), EngineError> {
        let group = self
            .groups
            .get(index)
            .ok_or_else(|| missing(&self.path, index, "any tensor"))?;
        let inputs: Vec<abi::IoBuffer> = group.inputs.iter().map(|tensor| describe(&tensor.buffer)).collect();
        let outputs: Vec<abi::IoBuffer> = group.outputs.iter().map(|tensor| describe(&tensor.buffer)).collect();
        let mut io = abi::Io {
            inputs: inputs.as_ptr(),
            input_count: inputs.len() as u32,
            outputs: outputs.as_ptr(),
            output_count: outputs.len() as u32,
            batch: 0,
            setting: std::ptr::null(),
            reserved: [0; 11],
        };
        let code = run(&self.handle.runtime.api, self.handle.raw, &raw mut io);
        if code != 0 {
            return Err(EngineError::backend(
                format!("{call} of {} (group {index})", self.path.display()),
                format!("code {code:#x}"),
                "set the task up again; if it fails again, restart the module",
            ));
        }
        group.outputs.iter().try_for_each(|tensor| tensor.buffer.invalidate())
    }
}

fn missing(path: &Path, group: usize, name: &str) -> EngineError {
    EngineError::backend(
        format!("looking up {name} in group {group} of {}", path.display()),
        "the model has none",
        "use a model compiled as a language model with a prefill and a decode group",
    )
}

fn describe(buffer: &DeviceBuffer) -> abi::IoBuffer {
    abi::IoBuffer {
        physical: buffer.physical(),
        virtual_address: buffer.address(),
        size: buffer.len() as u32,
        stride: std::ptr::null(),
        stride_len: 0,
        reserved: [0; 11],
    }
}

/// # Safety
/// `metas` must point to `count` descriptions that are valid during the call.
unsafe fn tensors(
    runtime: &Arc<Runtime>,
    metas: *const abi::IoMeta,
    count: u32,
    caching: Caching,
) -> Result<Vec<Tensor>, EngineError> {
    let mut tensors = Vec::new();
    for index in 0..count as usize {
        // SAFETY: the index is below `count`; the runtime's names are NUL-terminated.
        let (name, size) = unsafe {
            let meta = &*metas.add(index);
            let name = if meta.name.is_null() {
                String::new()
            } else {
                CStr::from_ptr(meta.name).to_string_lossy().into_owned()
            };
            (name, meta.size as usize)
        };
        tensors.push(Tensor {
            name,
            buffer: DeviceBuffer::new(runtime, size, caching)?,
        });
    }
    Ok(tensors)
}
