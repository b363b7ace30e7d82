//! Which maps a loaded program holds.

use std::os::fd::{BorrowedFd, OwnedFd};

use super::{Command, Info, SyscallError, address_mut, bpf, by_id, number, object_info};

/// Maps of one program that are listed.
const MAPS: usize = 256;

/// `struct bpf_prog_info`, as far as its maps.
#[repr(C)]
#[derive(Default)]
struct ProgramInfo {
    kind: u32,
    id: u32,
    before_maps: [u64; 5],
    created_by: u32,
    map_count: u32,
    maps: u64,
}

/// The id of a program, and those of its maps.
pub fn program(program: BorrowedFd<'_>) -> Result<(u32, Vec<u32>), SyscallError> {
    let mut maps = vec![0_u32; MAPS];
    let mut info = ProgramInfo {
        map_count: u32::try_from(maps.len()).unwrap_or_default(),
        maps: address_mut(&mut maps),
        ..ProgramInfo::default()
    };
    let mut attributes = Info {
        fd: number(program),
        length: u32::try_from(size_of::<ProgramInfo>()).unwrap_or_default(),
        buffer: address_mut(std::slice::from_mut(&mut info)),
    };
    bpf(Command::OBJ_GET_INFO_BY_FD, &mut attributes)?;
    maps.truncate(info.map_count as usize);
    Ok((info.id, maps))
}

/// A descriptor for the map with this id.
pub fn map(id: u32) -> Result<OwnedFd, SyscallError> {
    by_id(Command::MAP_GET_FD_BY_ID, id)
}

/// The name of a map, as the kernel keeps it: its first 15 bytes.
pub fn name(map: BorrowedFd<'_>) -> Result<String, SyscallError> {
    // struct bpf_map_info: six words, then name[16].
    let mut info = [0_u8; 40];
    object_info(map, &mut info)?;
    let name = info.get(24..).unwrap_or_default().split(|byte| *byte == 0).next().unwrap_or_default();
    Ok(String::from_utf8_lossy(name).into_owned())
}

#[cfg(test)]
mod tests {
    use super::ProgramInfo;

    #[test]
    fn fields_are_where_the_kernel_has_them() {
        assert_eq!(std::mem::offset_of!(ProgramInfo, map_count), 52);
        assert_eq!(std::mem::offset_of!(ProgramInfo, maps), 56);
    }
}
