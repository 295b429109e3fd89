#include "comm/communicator.h"
#include "facet/error.h"

namespace facet::comm {

std::unique_ptr<Transport> join_mpi() {
  throw Error("this facet is built without MPI, by which processes train together (CMake: -DFACET_MPI=ON)",
              ErrorCode::unsupported);
}

std::string mpi_version() { return "none"; }

}  // namespace facet::comm
