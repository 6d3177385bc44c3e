# The CUDA backend: built when a CUDA toolkit with cuBLAS and cuDNN is there, left out when not.
# NIBBLE_CUDA=ON makes its absence an error, OFF leaves it out.
set(NIBBLE_CUDA AUTO CACHE STRING "Build the CUDA backend: AUTO, ON or OFF")
set(architectures "80-real;86-real;89-real;90-real;100-real;120")
if(DEFINED ENV{NIBBLE_CUDA_ARCHITECTURES})
  set(architectures $ENV{NIBBLE_CUDA_ARCHITECTURES})
endif()
set(NIBBLE_CUDA_ARCHITECTURES ${architectures} CACHE STRING
    "Compute capabilities to compile for; the last also as PTX, for newer ones")
set(NIBBLE_CUDNN_FRONTEND_VERSION 1.32.0)

set(NIBBLE_HAS_CUDA OFF)
if(NOT NIBBLE_CUDA STREQUAL "OFF")
  find_package(CUDAToolkit 12.8 QUIET)
  find_path(CUDNN_INCLUDE_DIR cudnn.h HINTS ${CUDAToolkit_INCLUDE_DIRS})
  find_library(CUDNN_LIBRARY cudnn HINTS ${CUDAToolkit_LIBRARY_DIR})
  include(CheckLanguage)
  check_language(CUDA)
  if(CUDAToolkit_FOUND AND CMAKE_CUDA_COMPILER AND CUDNN_INCLUDE_DIR AND CUDNN_LIBRARY)
    set(NIBBLE_HAS_CUDA ON)
  elseif(NIBBLE_CUDA STREQUAL "ON")
    message(FATAL_ERROR "NIBBLE_CUDA=ON, but no CUDA toolkit 12.8 or newer with nvcc, cuBLAS and "
                        "cuDNN was found (nvcc: ${CMAKE_CUDA_COMPILER}, cudnn.h: "
                        "${CUDNN_INCLUDE_DIR}, libcudnn: ${CUDNN_LIBRARY})")
  endif()
endif()
message(STATUS "CUDA backend: ${NIBBLE_HAS_CUDA}")
if(NOT NIBBLE_HAS_CUDA)
  return()
endif()

set(CMAKE_CUDA_ARCHITECTURES ${NIBBLE_CUDA_ARCHITECTURES})
set(CMAKE_CUDA_RUNTIME_LIBRARY Static)
enable_language(CUDA)
# CMake 3.25 does not know how to ask nvcc for C++20.
if(NOT DEFINED CMAKE_CUDA20_STANDARD_COMPILE_OPTION)
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
endif()

# cudnn-frontend is headers only; PyPI is where its publisher packages it.
find_path(CUDNN_FRONTEND_INCLUDE_DIR cudnn_frontend.h
          HINTS ${PROJECT_BINARY_DIR}/cudnn-frontend/include)
if(NOT CUDNN_FRONTEND_INCLUDE_DIR)
  set(package ${PROJECT_BINARY_DIR}/cudnn-frontend)
  execute_process(
    COMMAND python3 -m pip install --quiet --no-deps --target ${package}
            nvidia-cudnn-frontend==${NIBBLE_CUDNN_FRONTEND_VERSION}
    RESULT_VARIABLE status)
  find_path(CUDNN_FRONTEND_INCLUDE_DIR cudnn_frontend.h HINTS ${package}/include)
  if(NOT status EQUAL 0 OR NOT CUDNN_FRONTEND_INCLUDE_DIR)
    message(FATAL_ERROR "cudnn-frontend ${NIBBLE_CUDNN_FRONTEND_VERSION} could not be fetched with "
                        "python3 -m pip; set CUDNN_FRONTEND_INCLUDE_DIR, or NIBBLE_CUDA=OFF")
  endif()
endif()

# The CUDA sources of the library: host files by the C++ compiler, kernels by nvcc.
function(nibble_add_cuda target)
  file(GLOB kernels CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/ops/cuda/kernels/*.cu)
  add_library(nibble_cuda_kernels OBJECT ${kernels})
  target_include_directories(nibble_cuda_kernels PRIVATE ${PROJECT_SOURCE_DIR}/src)
  set_target_properties(nibble_cuda_kernels PROPERTIES CUDA_STANDARD 20 UNITY_BUILD OFF)
  # It builds graphs and computes nothing: two minutes of cudnn-frontend's headers less.
  set_source_files_properties(${PROJECT_SOURCE_DIR}/src/ops/cuda/cudnn_attention.cpp PROPERTIES
                              COMPILE_OPTIONS -O0 SKIP_UNITY_BUILD_INCLUSION ON
                              SKIP_PRECOMPILE_HEADERS ON)
  target_compile_options(nibble_cuda_kernels PRIVATE -O3 --expt-relaxed-constexpr)
  target_sources(${target} PRIVATE $<TARGET_OBJECTS:nibble_cuda_kernels>)
  target_compile_definitions(${target} PUBLIC NIBBLE_CUDA=1)
  target_include_directories(${target} SYSTEM PUBLIC ${CUDAToolkit_INCLUDE_DIRS}
                             ${CUDNN_INCLUDE_DIR} ${CUDNN_FRONTEND_INCLUDE_DIR})
  # cudnn-frontend: without its JSON, and with nvrtc, which a part of it that we do not use needs.
  target_compile_definitions(${target} PRIVATE CUDNN_FRONTEND_SKIP_JSON_LIB)
  target_link_libraries(${target} PUBLIC CUDA::cudart_static CUDA::cublasLt CUDA::nvrtc
                                         ${CUDNN_LIBRARY})
endfunction()
