#![allow(unsafe_code)] // The binding to the runtime's memory: each block states what makes it sound.

//! Device memory: physically contiguous buffers that the NPU reads and writes, accessible as slices.

use std::ffi::c_void;
use std::ptr::NonNull;
use std::sync::Arc;

use super::runtime::Runtime;
use crate::engine::EngineError;

/// Alignment that the runtime requires of every buffer.
const ALIGNMENT: u32 = 128;

/// How the processor sees a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caching {
    /// Writes go directly to memory: for inputs of the NPU.
    Uncached,
    /// Reads are fast, but stale until invalidated: for outputs of the NPU.
    Cached,
}

/// A zeroed buffer of device memory. Freed on drop.
pub struct DeviceBuffer {
    runtime: Arc<Runtime>,
    physical: u64,
    address: NonNull<u8>,
    len: usize,
    caching: Caching,
}

// SAFETY: the buffer is plain memory owned by this value alone; the runtime's allocator may be called from any thread.
unsafe impl Send for DeviceBuffer {}

impl DeviceBuffer {
    /// Allocates a buffer of `len` bytes.
    ///
    /// # Errors
    /// [`EngineError::Backend`] if the module has no contiguous memory left.
    pub fn new(runtime: &Arc<Runtime>, len: usize, caching: Caching) -> Result<Self, EngineError> {
        let size = u32::try_from(len).ok().filter(|size| *size > 0).ok_or_else(|| {
            EngineError::backend(
                "allocating NPU memory",
                format!("{len} bytes is not a valid buffer size"),
                "the model file is damaged: install the model again",
            )
        })?;
        let (mut physical, mut address) = (0u64, std::ptr::null_mut::<c_void>());
        let (call, name) = match caching {
            Caching::Uncached => (&runtime.api.mem_alloc, "AX_SYS_MemAlloc"),
            Caching::Cached => (&runtime.api.mem_alloc_cached, "AX_SYS_MemAllocCached"),
        };
        // SAFETY: both results are written to live variables; the token is NUL-terminated.
        let code = unsafe { call(&raw mut physical, &raw mut address, size, ALIGNMENT, c"npu".as_ptr()) };
        let pointer = NonNull::new(address.cast::<u8>())
            .filter(|_| code == 0)
            .ok_or_else(|| {
                EngineError::backend(
                    name,
                    format!("{len} bytes were refused with code {code:#x}"),
                    "exit other tasks that use the NPU, or restart the module to free its memory",
                )
            })?;
        let mut buffer = Self {
            runtime: Arc::clone(runtime),
            physical,
            address: pointer,
            len,
            caching,
        };
        if !(pointer.as_ptr() as usize).is_multiple_of(ALIGNMENT as usize) {
            // `buffer` is dropped here, which frees the memory.
            return Err(EngineError::backend(
                name,
                "the memory is not aligned as requested",
                "install the module's runtime packages again",
            ));
        }
        buffer.bytes_mut().fill(0);
        Ok(buffer)
    }

    pub fn physical(&self) -> u64 {
        self.physical
    }

    pub fn address(&self) -> *mut c_void {
        self.address.as_ptr().cast()
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: `len` bytes were allocated at `address`, this value owns them, and no run is under way while it is borrowed
        // (runs are synchronous and borrow the whole model).
        unsafe { std::slice::from_raw_parts_mut(self.address.as_ptr(), self.len) }
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: as above; the memory was initialised to zero at allocation.
        unsafe { std::slice::from_raw_parts(self.address.as_ptr(), self.len) }
    }

    /// Returns the buffer as 16-bit words (bf16 bits). An odd last byte, which no tensor has, is ignored.
    pub fn words(&self) -> &[u16] {
        let bytes = self.bytes();
        bytemuck::cast_slice(&bytes[..bytes.len() & !1])
    }

    pub fn words_mut(&mut self) -> &mut [u16] {
        let even = self.len & !1;
        bytemuck::cast_slice_mut(&mut self.bytes_mut()[..even])
    }

    /// Returns the buffer as 32-bit indices.
    pub fn indices_mut(&mut self) -> &mut [u32] {
        let whole = self.len & !3;
        bytemuck::cast_slice_mut(&mut self.bytes_mut()[..whole])
    }

    /// Makes the NPU's writes visible. Required after every run for cached buffers.
    pub fn invalidate(&self) -> Result<(), EngineError> {
        if self.caching == Caching::Uncached {
            return Ok(());
        }
        // SAFETY: address and length are those of this allocation (the length fitted a u32 when it was made).
        let code = unsafe { (self.runtime.api.invalidate_cache)(self.physical, self.address(), self.len as u32) };
        if code == 0 {
            return Ok(());
        }
        Err(EngineError::backend(
            "AX_SYS_MinvalidateCache",
            format!("code {code:#x}"),
            "restart the unit",
        ))
    }
}

impl Drop for DeviceBuffer {
    fn drop(&mut self) {
        // SAFETY: allocated by the same runtime, freed once, and nothing points into it any more.
        let code = unsafe { (self.runtime.api.mem_free)(self.physical, self.address()) };
        if code != 0 {
            tracing::warn!(
                "AX_SYS_MemFree failed with code {code:#x}: {} bytes of NPU memory are lost until restart",
                self.len
            );
        }
    }
}
