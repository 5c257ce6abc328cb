// The communicator of MPI.
#pragma once

#include "tensor/communicator.h"

namespace nextgrad {

// Joins the so many processes of MPI's world. Throws InputError if they are others. Only where this
// was built with MPI.
std::unique_ptr<Communicator> mpi_communicator(int processes);

}  // namespace nextgrad
