# The files in src/ops/cpu/kernels are compiled once for each instruction set, in a namespace of
# its name (macro NIBBLE_ISA); ops/cpu/isa.cpp picks one at run time.
function(nibble_add_kernels target)
  file(GLOB kernels CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/ops/cpu/kernels/*.cpp)
  set(generic_flags "")
  set(isas generic)
  if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
    set(isas generic avx2 avx512 avx512bf16)
    set(avx2_flags -march=x86-64-v3)
    set(avx512_flags -march=x86-64-v4 -mprefer-vector-width=512)
    set(avx512bf16_flags ${avx512_flags} -mavx512bf16)
    target_compile_definitions(${target} PUBLIC NIBBLE_X86_KERNELS=1)
  endif()
  foreach(isa IN LISTS isas)
    add_library(nibble_kernels_${isa} OBJECT ${kernels})
    set_target_properties(nibble_kernels_${isa} PROPERTIES UNITY_BUILD OFF)
    target_include_directories(nibble_kernels_${isa} PRIVATE ${PROJECT_SOURCE_DIR}/src)
    target_compile_definitions(nibble_kernels_${isa} PRIVATE NIBBLE_ISA=${isa})
    # No contraction: a product and a sum round separately unless the kernel says otherwise, so that
    # codes and scales have the same bits everywhere. -Wno-psabi: wide vectors never cross files.
    # -Wno-*uninitialized: GCC 12's own AVX-512 headers (PR 105593).
    target_compile_options(nibble_kernels_${isa} PRIVATE -Wall -Wextra -Wshadow -O3
                           -ffp-contract=off -fno-math-errno -fno-trapping-math -Wno-psabi
                           -Wno-maybe-uninitialized -Wno-uninitialized ${${isa}_flags})
    if(NIBBLE_SANITIZE)
      target_compile_options(nibble_kernels_${isa} PRIVATE -fsanitize=address,undefined
                             -fno-sanitize-recover=all -fno-omit-frame-pointer)
      if(isa MATCHES avx512)  # it takes a minute to optimize sanitized vectors of 64 bytes
        target_compile_options(nibble_kernels_${isa} PRIVATE -O1)
      endif()
    endif()
    target_sources(${target} PRIVATE $<TARGET_OBJECTS:nibble_kernels_${isa}>)
  endforeach()
endfunction()
