// The communicator of MPI.
#pragma once

#include "tensor/communicator.h"

namespace nextgrad {

// Joins the processes of MPI's world. Only where this was built with MPI.
std::unique_ptr<Communicator> mpi_communicator();

}  // namespace nextgrad
